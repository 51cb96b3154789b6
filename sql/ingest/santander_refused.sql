-- Lines of one month that are refused. Grain: line. Input: typed.
SELECT source, line_no, reason
FROM typed
WHERE reason IS NOT NULL
