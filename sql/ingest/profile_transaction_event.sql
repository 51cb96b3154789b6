-- One row per month of events: what the suite transaction_event.profile judges.
-- Grain: month of event_ts (YYYY-MM). Units: rows, source currency, nats. in_the_future counts events of a later day
-- than today; merchant_share = different merchants per event that names one; l2_divergence = Kullback-Leibler
-- divergence of the level-2 categories from those of the month before, each count plus one half.
-- Input: view event (canonical transaction_event, all months). Source: data.md 11.
WITH monthly AS (
    SELECT
        strftime(event_ts, '%Y-%m') AS month,
        count(*)::DOUBLE AS rows,
        (count(*) - count(DISTINCT event_id))::DOUBLE AS duplicate_ids,
        min(amount) AS amount_min,
        max(amount) AS amount_max,
        count(*) FILTER (abs(signed_amount) <> amount)::DOUBLE AS sign_differs,
        count(*) FILTER (event_date <> event_ts::DATE)::DOUBLE AS date_differs,
        count(*) FILTER (event_ts::DATE > current_date)::DOUBLE AS in_the_future,
        count(DISTINCT merchant_key)::DOUBLE / nullif(count(merchant_key), 0) AS merchant_share
    FROM event
    GROUP BY ALL
),
counted AS (
    SELECT strftime(event_ts, '%Y-%m') AS month, l2_id, count(*) AS n
    FROM event
    GROUP BY ALL
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
