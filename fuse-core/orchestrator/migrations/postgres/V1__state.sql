-- The state of a control plane. Nothing but Fuse writes here: every change goes through the one row of
-- fuse_head, which carries the counters and the sum of all checksums.

CREATE TABLE fuse_head (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision    bigint  NOT NULL,
    last_event  bigint  NOT NULL,
    floor       bigint  NOT NULL,
    records     bigint  NOT NULL,
    digest      bytea   NOT NULL,
    loading     boolean NOT NULL
) WITH (fillfactor = 10);

INSERT INTO fuse_head VALUES (true, 0, 0, 0, 0, '\x00000000000000000000000000000000', false);

-- Bodies are bytes, not jsonb, so that they come back as they were written.
CREATE TABLE fuse_records (
    kind        text   COLLATE "C" NOT NULL,
    id          text   COLLATE "C" NOT NULL,
    revision    bigint NOT NULL,
    checksum    bytea  NOT NULL,
    body        bytea  NOT NULL,
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 70);

CREATE TABLE fuse_events (
    seq         bigint PRIMARY KEY,
    kind        text   COLLATE "C" NOT NULL,
    id          text   COLLATE "C" NOT NULL,
    at_ms       bigint NOT NULL,
    checksum    bytea  NOT NULL,
    body        bytea  NOT NULL
);

CREATE INDEX fuse_events_subject ON fuse_events (kind, id, seq);

CREATE TABLE fuse_leases (
    name        text    COLLATE "C" PRIMARY KEY,
    holder      text    NOT NULL,
    token       bigint  NOT NULL,
    expires_ms  bigint  NOT NULL,
    released    boolean NOT NULL
) WITH (fillfactor = 50);

-- The last group that each writing process committed: how it finds out, after a broken connection, whether its
-- commit went through.
CREATE TABLE fuse_writers (
    writer      bytea       PRIMARY KEY,
    groups      bigint      NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
