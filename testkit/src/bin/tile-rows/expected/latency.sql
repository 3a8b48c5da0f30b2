SELECT day, percentile_cont(0.5) WITHIN GROUP (ORDER BY latency) AS p50, percentile_cont(0.95) WITHIN GROUP (ORDER BY latency) AS p95
FROM tiles.generations WHERE latency IS NOT NULL GROUP BY day
