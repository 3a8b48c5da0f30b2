SELECT CASE WHEN traces > 0 AND (converted_at IS NULL OR first_trace < converted_at) THEN 'with LLM feature' ELSE 'without' END AS who,
    count(*) AS users, count(converted_at) AS converted, 100.0 * count(converted_at) / count(*) AS percent
FROM tiles.people GROUP BY who
