SELECT sum(cost) AS cost FROM tiles.generations
