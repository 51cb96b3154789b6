-- Diversity of categories: ln(1 + distinct in the window) - ln(1 + mean distinct per 30 days of the recent days).
-- Grain: customer_key, cutoff_date with $trend_min_events acts or more on both sides. Unitless; clipped later.
-- Input: purchase. Source: data.md 6.2 (mcc_diversity_trend).
WITH counted AS (
    SELECT
        customer_key,
        cutoff_date,
        sum(acts) FILTER (side = 'future') AS future_acts,
        sum(acts) FILTER (side = 'recent') AS recent_acts,
        count(*) FILTER (side = 'future') AS future_distinct,
        count(*) FILTER (side = 'recent') AS recent_distinct
    FROM purchase
    GROUP BY customer_key, cutoff_date
)
SELECT
    customer_key,
    cutoff_date,
    ln(1 + future_distinct) - ln(1 + recent_distinct / ($recent_days / 30)) AS diversity_trend
FROM counted
WHERE future_acts >= $trend_min_events AND recent_acts >= $trend_min_events
