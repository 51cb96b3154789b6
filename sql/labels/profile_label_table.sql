-- All labels at once: what the suite label_table.profile judges.
-- Grain: one row. Unit: rows; absent_share [0..1]. Input: label_table. Source: data.md 11.
SELECT
    count(*) FILTER (nba_primary > 0 AND cross_sell_count = 0)::DOUBLE AS nba_without_addition,
    count(*) FILTER (
        greatest(
            will_acquire_deposits,
            will_acquire_investments,
            will_acquire_accounts,
            will_acquire_lending,
            will_acquire_payments
        ) = 1 AND cross_sell_count = 0
    )::DOUBLE AS group_without_addition,
    count(*) FILTER (
        label_status <> 'mature'
        AND (
            churn_signal IS NOT NULL
            OR product_stability IS NOT NULL
            OR segment_prediction IS NOT NULL
            OR nba_primary IS NOT NULL
            OR cross_sell_count IS NOT NULL
            OR will_acquire_deposits IS NOT NULL
            OR will_acquire_investments IS NOT NULL
            OR will_acquire_accounts IS NOT NULL
            OR will_acquire_lending IS NOT NULL
            OR will_acquire_payments IS NOT NULL
            OR next_mcc IS NOT NULL
            OR mcc_diversity_trend IS NOT NULL
            OR top_mcc_shift IS NOT NULL
        )
    )::DOUBLE AS labelled_but_not_mature,
    (count(*) FILTER (label_status = 'absent'))::DOUBLE / count(*) AS absent_share
FROM label_table
