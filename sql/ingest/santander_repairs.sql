-- What was repaired in the accepted rows of one month, counted. Grain: one row. Unit: rows; blank_flags: cells.
-- Inputs: typed, view raw_month. Source: data.md 2.
SELECT
    (SELECT count(*) FROM raw_month) AS raw_rows,
    (SELECT count(*) FROM raw_month) - (SELECT count(*) FROM typed) AS copies,
    count(*) FILTER (age_out_of_range) AS age_out_of_range,
    count(*) FILTER (joined_in_future) AS joined_in_future,
    count(*) FILTER (active_missing) AS active_missing,
    count(*) FILTER (new_missing) AS new_missing,
    coalesce(sum(blank_flags), 0)::BIGINT AS blank_flags
FROM typed
WHERE reason IS NULL
