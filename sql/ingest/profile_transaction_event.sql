-- One row per month of events: what the suite transaction_event.profile judges.
-- Grain: month of event_date (YYYY-MM). Units: as in profile_event_month; l2_divergence [nat] = Kullback-Leibler
-- divergence of the level-2 categories from those of the month before, each count plus one half.
-- Inputs: monthly (rows of profile_event_month), view event (canonical transaction_event, all months).
-- Source: data.md 11.
WITH counted AS (
    SELECT strftime(date_trunc('month', event_date), '%Y-%m') AS month, l2_id, count(*) AS n
    FROM event
    GROUP BY date_trunc('month', event_date), l2_id
),
category AS (
    SELECT m.month, c.l2_id, coalesce(n.n, 0) + 0.5 AS n
    FROM monthly AS m
    CROSS JOIN (SELECT DISTINCT l2_id FROM counted) AS c
    LEFT JOIN counted AS n ON n.month = m.month AND n.l2_id = c.l2_id
),
share AS (
    SELECT month, l2_id, n / sum(n) OVER (PARTITION BY month) AS now
    FROM category
),
compared AS (
    SELECT *, lag(now) OVER (PARTITION BY l2_id ORDER BY month) AS earlier
    FROM share
),
divergence AS (
    SELECT month, sum(now * ln(now / earlier) ORDER BY l2_id) AS l2_divergence
    FROM compared
    WHERE earlier IS NOT NULL
    GROUP BY month
)
SELECT m.*, d.l2_divergence
FROM monthly AS m
LEFT JOIN divergence AS d USING (month)
ORDER BY month
