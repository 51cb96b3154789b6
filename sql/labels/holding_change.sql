-- What each mature row holds before and after: D = before only, A (additions) = after only.
-- Grain: customer_key, cutoff_date, short. Inputs: spine, holding. Source: data.md 6.1.
WITH before AS (
    SELECT s.customer_key, s.cutoff_date, h.short
    FROM spine AS s
    JOIN holding AS h ON h.customer_key = s.customer_key AND h.snapshot_date = s.cutoff_date
    WHERE s.label_status = 'mature'
),
later AS (
    SELECT s.customer_key, s.cutoff_date, h.short
    FROM spine AS s
    JOIN holding AS h ON h.customer_key = s.customer_key AND h.snapshot_date = s.label_end_date
    WHERE s.label_status = 'mature'
)
SELECT
    coalesce(b.customer_key, l.customer_key) AS customer_key,
    coalesce(b.cutoff_date, l.cutoff_date) AS cutoff_date,
    coalesce(b.short, l.short) AS short,
    b.short IS NOT NULL AS held_before,
    l.short IS NOT NULL AS held_after
FROM before AS b
FULL JOIN later AS l USING (customer_key, cutoff_date, short)
