-- One raw CSV file as text, with the line each row stands on (the header is line 1).
-- Grain: line. Parameters: $path, $name (file name), $columns (name -> VARCHAR, all 48 in order). Every column is text; blanks are null. Source: data.md 2.
SELECT
    row_number() OVER () + 1 AS line_no,
    $name AS source,
    *
FROM read_csv(
    $path,
    header = true,
    auto_detect = false,
    columns = $columns,
    delim = ',',
    quote = '"',
    escape = '"',
    nullstr = '',
    strict_mode = true,
    null_padding = false,
    ignore_errors = false
)
