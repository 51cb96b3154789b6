-- One row about all labels: what the suite label_table.profile judges. Counts of rows; absent_share 0..1.
-- Input: label_table. Source: data.md 11.
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
        AND coalesce(churn_signal, segment_prediction, nba_primary, next_mcc, top_mcc_shift, will_acquire_payments)
            IS NOT NULL
    )::DOUBLE AS labelled_but_not_mature,
    (count(*) FILTER (label_status = 'absent'))::DOUBLE / count(*) AS absent_share
FROM label_table
