-- The rows of a range of customers: what the statements of one slice work on.
-- Grain: as assignment. Parameters: $first_shard, $last_shard (inclusive; a shard is shuffle_key >> 50).
-- Input: assignment (split_assignment).
SELECT *
FROM assignment
WHERE shuffle_key >= $first_shard::BIGINT << 50 AND shuffle_key < ($last_shard::BIGINT + 1) << 50
