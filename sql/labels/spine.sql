-- The rows that get labels, and whether they can.
-- Grain: customer_key, cutoff_date (every split but serve). label_end_date = the label month's stamp, inclusive.
-- label_status: immature = events are not loaded through the label month; absent = no row at the label month.
-- Parameters: $loaded_through (last day whose events are loaded). Inputs: slice, view snapshot.
-- Source: data.md 6.1.
SELECT
    a.customer_key,
    a.cutoff_date,
    a.label_date AS label_end_date,
    CASE
        WHEN a.label_date > $loaded_through THEN 'immature'
        WHEN m.customer_key IS NULL THEN 'absent'
        ELSE 'mature'
    END AS label_status,
    a.split,
    a.shuffle_key
FROM slice AS a
LEFT JOIN snapshot AS m ON m.customer_key = a.customer_key AND m.snapshot_date = a.label_date
WHERE a.split <> 'serve'
