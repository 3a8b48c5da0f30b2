SELECT day, percentile_cont(0.5) WITHIN GROUP (ORDER BY first_token) AS p50, percentile_cont(0.95) WITHIN GROUP (ORDER BY first_token) AS p95
FROM tiles.generations WHERE first_token IS NOT NULL GROUP BY day
