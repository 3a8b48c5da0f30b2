SELECT person AS user_id, sum(cost) AS cost, count(*) AS generations FROM tiles.generations WHERE person IS NOT NULL
GROUP BY person ORDER BY sum(cost) DESC NULLS LAST, person LIMIT 20
