-- Events of one month, as the adapter hands them over.
-- Grain: trans_id. Units: amount in CZK. The stream has dates only: event_ts is midnight, and the order inside a day
-- is not known (event_id is not chronological).
-- Parameters: $first, $after (dates: the month is [first, after)).
-- Inputs: stream, category (code, mcc_idx, event_type), disposition.
SELECT
    s.trans_id::VARCHAR AS event_id,
    d.client_id::VARCHAR AS customer_id,
    s.date::TIMESTAMP AS event_ts,
    c.event_type,
    c.mcc_idx::UTINYINT AS mcc_idx,
    s.amount,
    s.signed_amount,
    NULL::VARCHAR AS channel
FROM stream AS s
JOIN category AS c ON c.code = s.category
JOIN disposition AS d ON d.account_id = s.account_id AND d.type = 'OWNER'
WHERE s.date >= $first AND s.date < $after
ORDER BY s.trans_id
