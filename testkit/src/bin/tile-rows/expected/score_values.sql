SELECT name, coalesce(string_value, '(no value)') AS category, count(*) AS scores FROM tiles.scores WHERE data_type = 'CATEGORICAL'
GROUP BY name, category
