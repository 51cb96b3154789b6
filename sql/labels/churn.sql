-- churn_signal: holdings at the label month below $churn_ratio x their mean over the last $churn_months observed
-- months up to the cutoff. Null when nothing is held at the cutoff.
-- Grain: customer_key, cutoff_date (mature). Exact decimal arithmetic: n_m x months < ratio x sum.
-- Inputs: spine, view snapshot. Source: data.md 6.2.
WITH history AS (
    SELECT
        s.customer_key,
        s.cutoff_date,
        s.label_end_date,
        h.snapshot_date,
        h.num_products,
        row_number() OVER (PARTITION BY s.customer_key, s.cutoff_date ORDER BY h.snapshot_date DESC) AS back
    FROM spine AS s
    JOIN snapshot AS h ON h.customer_key = s.customer_key AND h.snapshot_date <= s.cutoff_date
    WHERE s.label_status = 'mature'
),
past AS (
    SELECT
        customer_key,
        cutoff_date,
        any_value(label_end_date) AS label_end_date,
        sum(num_products)::DECIMAL(18, 0) AS held_sum,
        count(*)::DECIMAL(18, 0) AS months,
        max(num_products) FILTER (back = 1) AS held_now
    FROM history
    WHERE back <= $churn_months
    GROUP BY customer_key, cutoff_date
)
SELECT
    p.customer_key,
    p.cutoff_date,
    CASE WHEN p.held_now > 0
        THEN (m.num_products * p.months < $churn_ratio::DECIMAL(9, 6) * p.held_sum)::SMALLINT
    END AS churn_signal
FROM past AS p
JOIN snapshot AS m ON m.customer_key = p.customer_key AND m.snapshot_date = p.label_end_date
