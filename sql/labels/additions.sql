-- nba_primary, the five will_acquire_* and the number of additions, of every mature row.
-- Grain: customer_key, cutoff_date. additions = products added (count); nba_primary = class of the primary addition,
-- 0 = none. Primary = the added product that is added most often on train, ties by the product's index.
-- Inputs: spine, added. Source: data.md 6.2.
WITH frequency AS (
    SELECT a.product_idx, count(*) AS times
    FROM added AS a
    JOIN spine AS s USING (customer_key, cutoff_date)
    WHERE s.split = 'train'
    GROUP BY a.product_idx
),
ranked AS (
    SELECT
        a.*,
        row_number() OVER (
            PARTITION BY a.customer_key, a.cutoff_date
            ORDER BY (a.nba_class = 0), coalesce(f.times, 0) DESC, a.product_idx
        ) AS place
    FROM added AS a
    LEFT JOIN frequency AS f USING (product_idx)
)
SELECT
    s.customer_key,
    s.cutoff_date,
    coalesce(max(r.nba_class) FILTER (r.place = 1), 0)::SMALLINT AS nba_primary,
    count(r.product_idx) AS additions,
    (count(*) FILTER (r.acquire_group = 'deposits') > 0)::SMALLINT AS will_acquire_deposits,
    (count(*) FILTER (r.acquire_group = 'investments') > 0)::SMALLINT AS will_acquire_investments,
    (count(*) FILTER (r.acquire_group = 'accounts') > 0)::SMALLINT AS will_acquire_accounts,
    (count(*) FILTER (r.acquire_group = 'lending') > 0)::SMALLINT AS will_acquire_lending,
    (count(*) FILTER (r.acquire_group = 'payments') > 0)::SMALLINT AS will_acquire_payments
FROM spine AS s
LEFT JOIN ranked AS r USING (customer_key, cutoff_date)
WHERE s.label_status = 'mature'
GROUP BY s.customer_key, s.cutoff_date
