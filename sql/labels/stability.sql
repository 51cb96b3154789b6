-- product_stability: Jaccard similarity of the holdings at cutoff and label month, at most $stability_clip.
-- Grain: customer_key, cutoff_date with something held at either (both empty: no row, label null). Unitless 0..1.
-- Input: holding_change. Source: data.md 6.2.
SELECT
    customer_key,
    cutoff_date,
    least(count(*) FILTER (held_before AND held_after)::DOUBLE / count(*), $stability_clip::DOUBLE) AS product_stability
FROM holding_change
GROUP BY customer_key, cutoff_date
