-- What the recorded connectors saw: rows from before, then changes of every kind. A marker parts the two.
CREATE SCHEMA app;
CREATE TABLE app.users
(
    id bigserial PRIMARY KEY, email text NOT NULL, username text NOT NULL, subscription_tier text NOT NULL,
    channels_limit int NOT NULL, daily_video_limit int, monthly_budget numeric(10, 2),
    created_at timestamptz NOT NULL, last_active_at timestamp
);
CREATE TABLE app.channels
(
    id bigserial PRIMARY KEY, user_id bigint NOT NULL, channel_name text NOT NULL, niche text, youtube_channel_id text,
    is_active boolean NOT NULL, auto_publish boolean, created_at timestamp(3) NOT NULL, updated_at timestamptz
);
CREATE TABLE app.subscriptions
(
    id bigserial PRIMARY KEY, user_id bigint NOT NULL, plan text NOT NULL, status text NOT NULL,
    mrr_usd numeric NOT NULL, started_at timestamp(6) NOT NULL, cancelled_at date
);
CREATE TABLE app.signals (id text PRIMARY KEY, type text NOT NULL, data text);
-- Channels stay as tables are: of a deleted row only its key is logged.
ALTER TABLE app.users REPLICA IDENTITY FULL;
ALTER TABLE app.subscriptions REPLICA IDENTITY FULL;
INSERT INTO app.users VALUES
    (1, 'one@example.org', 'one', 'free', 1, NULL, NULL, '2025-01-02 03:04:05.678901+00', NULL),
    (2, 'zwei@example.org', 'Zwei "ü" 😀', 'pro', 10, 50, 99.99, '2025-06-01 12:00:00+02', '2026-02-03 04:05:06.789123');
INSERT INTO app.channels VALUES
    (7, 2, 'cooking', 'food', 'UC123', true, NULL, '2025-02-01 00:00:00.123', '2025-02-01 00:00:00+00');
INSERT INTO app.subscriptions VALUES (5, 2, 'pro', 'active', 29.9000, '2025-06-01 10:00:00.000001', NULL);
/* now */
INSERT INTO app.users VALUES
    (3, 'three@example.org', 'three', 'pro', 5, 20, -0.01, '2026-03-01 00:00:00+00', '2026-03-01 00:00:01');
UPDATE app.users SET monthly_budget = 12345678.90, last_active_at = '2026-03-02 00:00:00.5' WHERE id = 3;
BEGIN;
UPDATE app.users SET subscription_tier = 'business' WHERE id = 2;
UPDATE app.users SET channels_limit = 100 WHERE id = 2;
INSERT INTO app.subscriptions VALUES (6, 3, 'pro', 'active', 0.00005, '2026-03-01 00:00:00', NULL);
UPDATE app.subscriptions SET status = 'cancelled', cancelled_at = '2026-03-05', mrr_usd = 12345678901.23455 WHERE id = 5;
COMMIT;
BEGIN;
UPDATE app.users SET username = 'never' WHERE id = 1;
ROLLBACK;
UPDATE app.channels SET is_active = false, auto_publish = true, niche = NULL WHERE id = 7;
INSERT INTO app.channels VALUES (8, 3, repeat('långt ', 2), 'music', NULL, true, false, '2026-03-01 00:00:00', NULL);
DELETE FROM app.channels WHERE id = 8;
DELETE FROM app.users WHERE id = 3;
UPDATE app.users SET id = 4 WHERE id = 1;
TRUNCATE app.channels;
SELECT pg_logical_emit_message(true, 'note', 'no change of a row');
INSERT INTO app.signals VALUES ('again', 'execute-snapshot', '{"data-collections": ["app.users"], "type": "incremental"}');
