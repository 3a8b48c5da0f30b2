SELECT CASE WHEN days < 2 THEN '1: one day' WHEN days < 5 THEN '2: 2 to 4 days' WHEN days < 10 THEN '3: 5 to 9 days'
        ELSE '4: 10 days and more' END AS active,
    count(*) AS users, 100.0 * count(*) FILTER (WHERE traces > 0) / count(*) AS percent_with_traces, avg(traces) AS traces_per_user
FROM tiles.people GROUP BY active
