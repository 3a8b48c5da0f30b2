WITH scored AS (
    SELECT person, at, value - avg(value) OVER (PARTITION BY name) AS above FROM tiles.scores WHERE data_type IN ('NUMERIC', 'BOOLEAN')
), people AS (
    SELECT person, avg(above) AS above, min(at) AS first_score FROM scored WHERE person IS NOT NULL GROUP BY person
)
SELECT CASE WHEN above < 0 THEN 'below average' ELSE 'average or above' END AS feedback, count(*) AS users,
    100.0 * count(*) FILTER (WHERE last_page - first_score >= interval '24 hours') / count(*) AS percent_came_back
FROM people LEFT JOIN tiles.people AS pages USING (person) WHERE above IS NOT NULL GROUP BY feedback
