SELECT day, sum(cost) / count(DISTINCT person) AS cost_per_user FROM tiles.generations WHERE person IS NOT NULL GROUP BY day
