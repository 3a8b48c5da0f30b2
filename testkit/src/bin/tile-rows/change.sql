-- After the first export: each property that a tile reads changes somewhere, also to what it did not have, and to nothing.
UPDATE observations SET calculated_total_cost = calculated_total_cost * 2 WHERE type = 'GENERATION' AND prompt_tokens % 4 = 1;
UPDATE observations SET calculated_total_cost = NULL, total_cost = NULL WHERE type = 'GENERATION' AND prompt_tokens % 6 = 2;
UPDATE observations SET end_time = CASE WHEN end_time IS NULL THEN start_time + interval '7 s' END
    WHERE type = 'GENERATION' AND (end_time IS NULL OR prompt_tokens % 8 = 3);
UPDATE observations SET completion_start_time = CASE WHEN prompt_tokens % 2 = 0 THEN start_time + interval '333 ms' END
    WHERE type = 'GENERATION' AND completion_tokens % 5 = 4;
UPDATE observations SET model = CASE WHEN model IS NULL THEN 'mistral' END WHERE type = 'GENERATION' AND completion_tokens % 6 = 5;
UPDATE observations SET level = 'ERROR' WHERE type = 'GENERATION' AND level = 'DEBUG' AND prompt_tokens % 3 = 0;
UPDATE observations SET level = 'DEFAULT' WHERE type = 'GENERATION' AND level = 'WARNING' AND prompt_tokens % 3 = 0;
UPDATE observations SET prompt_tokens = prompt_tokens + 1000, unit = 'TOKENS' WHERE type = 'GENERATION' AND completion_tokens % 9 = 0;
UPDATE observations SET unit = 'CHARACTERS' WHERE type = 'GENERATION' AND completion_tokens % 9 = 1;
-- A day later, under another date; so is its trace.
UPDATE observations SET start_time = start_time + interval '1 day', end_time = end_time + interval '1 day',
    completion_start_time = completion_start_time + interval '1 day'
    WHERE type = 'GENERATION' AND completion_tokens = 17 AND start_time >= '2024-06-02' AND start_time < '2024-06-10';
UPDATE scores SET value = 1 - value WHERE name = 'quality' AND value < 0.3;
UPDATE scores SET value = NULL WHERE name = 'quality' AND value BETWEEN 0.5 AND 0.55;
UPDATE scores SET string_value = 'praise' WHERE name = 'topic' AND string_value IS NULL;
UPDATE scores SET string_value = NULL WHERE name = 'topic' AND string_value = 'bugs' AND hashtext(id) % 3 = 0;
-- Somebody signed in: the copy of before stays beside the new one, under no user.
UPDATE traces SET user_id = 'u5' WHERE user_id IS NULL AND metadata IS NULL AND extract(day FROM "timestamp")::int % 2 = 0;
UPDATE scores SET data_type = 'CATEGORICAL', string_value = 'good' WHERE name = 'quality' AND value BETWEEN 0.8 AND 0.83;
