-- Clipping bounds of the two open-ended regression labels, fitted on train rows alone.
-- Grain: one row. Unit: as the labels. One addition (ln 2) is never clipped away. Parameters: $clip_quantile.
-- Inputs: spine, additions, diversity. Source: data.md 6.2.
SELECT
    (SELECT greatest(quantile_cont(ln(1 + a.additions), $clip_quantile::DOUBLE), ln(2))
    FROM additions AS a JOIN spine AS s USING (customer_key, cutoff_date)
    WHERE s.split = 'train') AS count_high,
    (SELECT quantile_cont(d.diversity_trend, $clip_quantile::DOUBLE)
    FROM diversity AS d JOIN spine AS s USING (customer_key, cutoff_date)
    WHERE s.split = 'train') AS trend_high,
    (SELECT quantile_cont(d.diversity_trend, (1 - $clip_quantile)::DOUBLE)
    FROM diversity AS d JOIN spine AS s USING (customer_key, cutoff_date)
    WHERE s.split = 'train') AS trend_low
