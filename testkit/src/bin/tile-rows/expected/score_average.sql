SELECT day, name, avg(value) AS average FROM tiles.scores WHERE data_type IN ('NUMERIC', 'BOOLEAN') AND value IS NOT NULL GROUP BY day, name
