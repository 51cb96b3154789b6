-- The label table: one row per labelled (customer, cutoff), one column per task; null = masked.
-- Grain: customer_key, cutoff_date, ordered by shuffle_key, customer_key, cutoff_date.
-- Units: binary 0/1; multiclass class index; product_stability 0..1; cross_sell_count log1p(products);
-- mcc_diversity_trend difference of logarithms. least() and greatest() skip nulls: hence the CASEs. Parameter: $label_version.
-- Inputs: spine, churn, stability, additions, segment_label, next_mcc, diversity, shift, clip. Source: data.md 6.2.
SELECT
    s.shuffle_key,
    s.split,
    s.customer_key,
    s.cutoff_date,
    s.label_end_date,
    s.label_status,
    c.churn_signal,
    b.product_stability,
    g.segment_prediction,
    a.nba_primary,
    CASE WHEN a.additions IS NOT NULL THEN least(ln(1 + a.additions), k.count_high) END AS cross_sell_count,
    a.will_acquire_deposits,
    a.will_acquire_investments,
    a.will_acquire_accounts,
    a.will_acquire_lending,
    a.will_acquire_payments,
    n.next_mcc,
    CASE WHEN d.diversity_trend IS NOT NULL
        THEN least(greatest(d.diversity_trend, k.trend_low), k.trend_high)
    END AS mcc_diversity_trend,
    f.top_mcc_shift,
    $label_version::VARCHAR AS label_version
FROM spine AS s
CROSS JOIN clip AS k
LEFT JOIN churn AS c USING (customer_key, cutoff_date)
LEFT JOIN stability AS b USING (customer_key, cutoff_date)
LEFT JOIN additions AS a USING (customer_key, cutoff_date)
LEFT JOIN segment_label AS g USING (customer_key, cutoff_date)
LEFT JOIN next_mcc AS n USING (customer_key, cutoff_date)
LEFT JOIN diversity AS d USING (customer_key, cutoff_date)
LEFT JOIN shift AS f USING (customer_key, cutoff_date)
ORDER BY s.shuffle_key, s.customer_key, s.cutoff_date
