SELECT corr(days, traces) AS correlation FROM tiles.people
