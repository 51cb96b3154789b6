-- Quantiles of the daily count channels.
-- Grain: one row. Unit: counts per active day. Parameters: $q quantile.
-- Reads: daily_activity; horizon (customer_key, cutoff_date: the newest of the customer's rows).
-- Source: features.md 4.2 (channels 2, 3, 9, 11 are divided by the train q99: the rows are train rows).
SELECT
    quantile_disc(bit_count(d.l2_mask), $q) AS categories,
    quantile_disc(d.n_merchants, $q) AS merchants,
    quantile_disc(d.n_inflow, $q) AS n_inflow,
    quantile_disc(d.n_transfer, $q) AS n_transfer
FROM daily_activity AS d
JOIN horizon AS t ON t.customer_key = d.customer_key AND d.event_date <= t.cutoff_date
