SELECT day, sum(prompt_tokens) AS tokens_in, sum(completion_tokens) AS tokens_out FROM tiles.generations WHERE unit = 'TOKENS' GROUP BY day
