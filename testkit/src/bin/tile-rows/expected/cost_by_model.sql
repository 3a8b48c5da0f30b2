SELECT day, model, sum(cost) AS cost FROM tiles.generations GROUP BY day, model
