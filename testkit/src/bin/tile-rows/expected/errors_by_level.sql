SELECT day, level, count(*) AS generations FROM tiles.generations WHERE level IN ('WARNING', 'ERROR') GROUP BY day, level
