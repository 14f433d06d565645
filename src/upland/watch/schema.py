"""The tables of a history, as any program that reads SQLite sees them, and how older ones become these.

Numbers that a reader wants are columns; the only blobs are the state of the monitors (`state`), which is what
goes on after a restart, and the rows that were kept (`kept_rows`, Arrow IPC). Logarithms are natural. Texts
of times are as they were given; the order of batches is that of their numbers, never that of a clock.
"""

from __future__ import annotations

APPLICATION = 0x55504C57
"""`PRAGMA application_id` of a history: "UPLW" in ASCII."""

_FIRST = """
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE model (
    model INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, path TEXT, detector TEXT NOT NULL,
    modality TEXT NOT NULL, criterion TEXT NOT NULL, alpha REAL NOT NULL, calibration TEXT NOT NULL,
    calibration_rows INTEGER NOT NULL, first_batch INTEGER NOT NULL);
CREATE TABLE batch (
    batch INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, name TEXT, path TEXT, time TEXT,
    model INTEGER NOT NULL REFERENCES model, rows INTEGER NOT NULL, flagged INTEGER NOT NULL,
    least_p REAL, counted INTEGER NOT NULL, left_out INTEGER NOT NULL, late INTEGER NOT NULL,
    log_martingale REAL NOT NULL, log_peak REAL NOT NULL, log_detector REAL NOT NULL,
    log_e_value REAL NOT NULL, action TEXT NOT NULL, why TEXT NOT NULL);
CREATE INDEX batch_of_path ON batch (path);
CREATE TABLE flagged_row (
    batch INTEGER NOT NULL REFERENCES batch, row INTEGER NOT NULL, score REAL NOT NULL,
    p_value REAL NOT NULL, reasons TEXT, PRIMARY KEY (batch, row)) WITHOUT ROWID;
CREATE TABLE group_verdict (
    test INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batch, kind TEXT NOT NULL,
    "group" TEXT NOT NULL, rows INTEGER NOT NULL, p_value REAL, log_e_value REAL NOT NULL,
    level REAL NOT NULL, flag INTEGER NOT NULL, reason TEXT, columns TEXT);
CREATE INDEX group_verdict_of_batch ON group_verdict (batch);
CREATE TABLE bucket (
    start REAL PRIMARY KEY, rows INTEGER NOT NULL, state BLOB, test INTEGER REFERENCES group_verdict)
    WITHOUT ROWID;
CREATE INDEX bucket_open ON bucket (start) WHERE test IS NULL;
CREATE TABLE site (
    model INTEGER NOT NULL REFERENCES model, site TEXT NOT NULL, number INTEGER NOT NULL,
    rows INTEGER NOT NULL, first_batch INTEGER NOT NULL, last_batch INTEGER NOT NULL,
    log_martingale REAL NOT NULL, log_peak REAL NOT NULL, log_weight REAL NOT NULL,
    PRIMARY KEY (model, site)) WITHOUT ROWID;
CREATE INDEX site_by_number ON site (model, number);
CREATE INDEX site_by_peak ON site (model, log_peak + log_weight);
CREATE INDEX site_by_now ON site (model, log_martingale);
CREATE TABLE column_mean (
    batch INTEGER NOT NULL REFERENCES batch, "column" TEXT NOT NULL, mean REAL NOT NULL,
    PRIMARY KEY (batch, "column")) WITHOUT ROWID;
CREATE TABLE alarm (
    alarm INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batch, model INTEGER NOT NULL,
    kind TEXT NOT NULL, subject TEXT, log_value REAL NOT NULL, log_threshold REAL NOT NULL,
    since INTEGER NOT NULL, action TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX alarm_of_batch ON alarm (batch);
CREATE INDEX alarm_of_model ON alarm (model, kind, subject);
CREATE TABLE identity (value TEXT NOT NULL);
INSERT INTO identity VALUES (lower(hex(randomblob(16))));
CREATE INDEX alarm_standing ON alarm (model, alarm) WHERE kind IN ('changed', 'repeated change', 'site');
CREATE TABLE delivery (
    alarm INTEGER NOT NULL REFERENCES alarm, channel TEXT NOT NULL, status TEXT NOT NULL,
    attempts INTEGER NOT NULL, next_attempt REAL NOT NULL, error TEXT,
    PRIMARY KEY (alarm, channel)) WITHOUT ROWID;
CREATE INDEX delivery_waiting ON delivery (next_attempt) WHERE status = 'waiting';
CREATE TABLE refused (
    digest TEXT NOT NULL, model TEXT NOT NULL, name TEXT, path TEXT, reason TEXT NOT NULL,
    after_batch INTEGER NOT NULL, PRIMARY KEY (digest, model)) WITHOUT ROWID;
CREATE TABLE file (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, modified INTEGER NOT NULL, digest TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE attempt (
    digest TEXT NOT NULL, process INTEGER NOT NULL, name TEXT, path TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (digest, process)) WITHOUT ROWID;
CREATE TABLE state (
    model INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, arrays BLOB NOT NULL,
    PRIMARY KEY (model, kind, name)) WITHOUT ROWID;
CREATE TABLE online_fdr (
    family TEXT PRIMARY KEY, tests INTEGER NOT NULL, flags INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE kept_rows (batch INTEGER PRIMARY KEY REFERENCES batch, rows BLOB NOT NULL);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)
"""What makes each version of the schema from the one before; the first makes it from an empty file.

`PRAGMA user_version` is how many of these a history has had. A step that was released is never changed.
"""
