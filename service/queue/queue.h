/* queue.h - messages we have promised to deliver.
 *
 * Owner: run.c. Threads: every call runs on the store lane (one thread at a time), except
 * queue_reader_*: a reader belongs to the thread that uses it, and readers run beside the writer.
 * Failure: ERR_TEMP = nothing changed, ask again; ERR_PERM = there is no such message, or the claim
 * is no longer yours; ERR_BUG = the state table was violated by our own code.
 *
 * Batches. queue_batch_begin, any ops, queue_batch_commit: one transaction, one fsync. No op may be
 * answered before its commit. When the commit fails, nothing of the batch has changed (claims
 * included) and each of its ops counts as ERR_TEMP, also those that returned true. An op refused
 * within a batch has changed nothing and leaves the batch sound. An op outside a batch is a batch
 * of its own. Only claims and readings in a batch: it costs no fsync.
 *
 * Times are milliseconds of the queue's clock (struct queue_clock below), given by the caller.
 *
 * State table (message). CLAIMED* = claimed, hold wanted. "-" is refused: no such message or wrong
 * state (ERR_PERM), "BUG" our own mistake (ERR_BUG), "=" nothing to do (true).
 *
 *   op \ state      none       RECEIVING   QUEUED      CLAIMED     HELD       CLAIMED*
 *   receive_open    RECEIVING
 *   receive_chunk   BUG        RECEIVING   BUG         BUG         BUG        BUG
 *   receive_abort   BUG        none        BUG         BUG         BUG        BUG
 *   accept          QUEUED     QUEUED      BUG         BUG         BUG        BUG
 *   claim           nothing    nothing     CLAIMED     nothing     nothing    nothing
 *   renew           -          -           -           CLAIMED     -          CLAIMED*
 *   finish, part    -          -           -           CLAIMED     -          CLAIMED*
 *   finish, rest    -          -           -           QUEUED|none -          HELD|none
 *   defer           -          -           -           QUEUED      -          HELD
 *   hold            -          -           HELD        CLAIMED*    =          =
 *   release         -          -           =           =           QUEUED     CLAIMED
 *   retry           -          -           QUEUED now  CLAIMED     -          -
 *   remove          -          -           none        none        none       none
 *   show            -          -           yes         yes         yes        yes
 *   read_chunk      -          -           yes         yes         yes        yes
 *   reopen          none       none        QUEUED      QUEUED      HELD       HELD
 *
 * renew, finish and defer by another owner than the claim's: "-". accept with `receiving` == 0
 * makes a new message; with the id of a RECEIVING one it turns that one into a message. remove of a
 * claimed message takes effect at once: the claim is gone with it, its finish is refused. */
#ifndef POSTERN_QUEUE_QUEUE_H
#define POSTERN_QUEUE_QUEUE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/netaddr.h"
#include "base/span.h"

enum {
    QUEUE_INLINE_MAX = 64 * 1024, /* a claim brings a body up to this with it */
    QUEUE_CHUNK_MAX = 256 * 1024, /* receive_chunk takes at most this; none stored is larger */
    QUEUE_REPLY_MAX = 1024,       /* a recipient's last reply is cut to this */
    QUEUE_RECIPIENTS_MAX = 1 << 20,
    QUEUE_CLAIM_MAX = 1000, /* messages by one claim */
    QUEUE_LIST_MAX = 200,   /* messages that one list gives, and at how many it looks at most */
    QUEUE_LIST_RECIPIENTS_MAX = 2000, /* it ends behind the message that makes it so many */
};

struct queue;

/* ---- what is accepted ---- */

enum queue_origin { QUEUE_ORIGIN_SMTP, QUEUE_ORIGIN_PICKUP, QUEUE_ORIGIN_DSN };
enum queue_ret { QUEUE_RET_UNSET, QUEUE_RET_FULL, QUEUE_RET_HDRS }; /* RFC 3461 4.3 */
/* RFC 3461 4.1; bits. */
enum queue_notify {
    QUEUE_NOTIFY_UNSET = 0,
    QUEUE_NOTIFY_NEVER = 1,
    QUEUE_NOTIFY_SUCCESS = 2,
    QUEUE_NOTIFY_FAILURE = 4,
    QUEUE_NOTIFY_DELAY = 8,
};

struct queue_envelope {
    struct span sender; /* without angle brackets; empty: the null sender */
    struct span envid;  /* as the client wrote it (xtext); empty: none */
    struct span helo;
    struct span identity; /* authenticated account, or empty */
    struct netaddr client;
    enum queue_ret ret;
    enum queue_origin origin;
    bool eight_bit; /* BODY=8BITMIME */
    bool smtputf8;
    bool may_relay; /* the client had the relay right */
};

struct queue_addressee {
    struct span address; /* without angle brackets */
    struct span orcpt;   /* as the client wrote it ("rfc822;..."), or empty */
    unsigned notify;     /* enum queue_notify bits */
};

/* All spans are borrowed for the call. The message's bytes are `body`, in order, and then the
 * chunks of `receiving`: so the head (Received: and other added fields) goes first although it is
 * written last. CRLF line ends, no dot-stuffing. */
struct queue_submission {
    struct queue_envelope envelope;
    const struct queue_addressee *recipients;
    size_t recipient_count; /* at least 1 */
    const struct span *body;
    size_t body_count;
    uint64_t receiving; /* 0, or from queue_receive_open; body then is at most QUEUE_CHUNK_MAX */
};

/* ---- what is given out ---- */

enum queue_state { QUEUE_RECEIVING, QUEUE_QUEUED, QUEUE_CLAIMED, QUEUE_HELD };
enum queue_recipient_state {
    QUEUE_RCPT_WAITING, /* to be tried at next_ms */
    QUEUE_RCPT_DELIVERED,
    QUEUE_RCPT_FAILED,
    QUEUE_RCPT_EXPIRED,
};

struct queue_recipient {
    struct span address, orcpt;
    struct span last_reply; /* of the last attempt; empty: none yet */
    int64_t next_ms;        /* due then; while WAITING */
    uint32_t index;         /* its name within the message, 0..n-1 */
    uint32_t attempts;
    unsigned notify;
    enum queue_recipient_state state;
    bool delay_noticed;
};

/* Heap; everything hangs on its arena. The caller frees it with queue_message_free, on any thread,
 * also when the commit of its batch failed. */
struct queue_message {
    struct arena arena;
    uint64_t id; /* never 0, never used twice in a queue */
    int64_t accepted_ms;
    struct queue_envelope envelope;
    struct queue_recipient *recipients; /* claim: those claimed; list, show: all */
    size_t recipient_count;
    uint64_t size; /* bytes of the message */
    uint32_t chunk_count;
    enum queue_state state; /* CLAIMED also when a hold is wanted; see hold_wanted */
    bool hold_wanted;
    bool has_body;    /* claim: size <= QUEUE_INLINE_MAX; else read it by chunks */
    struct span body; /* claim: the whole message; show: its header section, cut to 64 KiB */
};
void queue_message_free(struct queue_message **m);

/* ---- batches ---- */

bool queue_batch_begin(struct queue *q, struct err *e);
bool queue_batch_commit(struct queue *q, struct err *e); /* a failed one is rolled back */
void queue_batch_rollback(struct queue *q);

/* ---- taking mail ---- */

/* Refused with ERR_TEMP and queue_err_is_full while only the reserve is left (452). */
bool queue_accept(struct queue *q, const struct queue_submission *submission, int64_t now_ms,
                  uint64_t *id, struct err *e);
bool queue_err_is_full(const struct err *e);

/* A large body, stored while it arrives. What is not accepted is swept at the next open. */
bool queue_receive_open(struct queue *q, uint64_t *receiving, struct err *e);
bool queue_receive_chunk(struct queue *q, uint64_t receiving, struct span bytes, struct err *e);
bool queue_receive_abort(struct queue *q, uint64_t receiving, struct err *e);

/* ---- delivering it ---- */

/* Up to max messages that are due, oldest due first, each with its due recipients; none due is no
 * failure (*count = 0). A claimed message is not given out again until its claim ends: every
 * recipient of the claim has an outcome, or it is deferred, removed, or - in a store whose leases
 * expire - its lease is over. Refused with ERR_TEMP while the store cannot record results. */
bool queue_claim(struct queue *q, uint64_t owner, int64_t lease_ms, int64_t now_ms, size_t max,
                 struct queue_message **out, size_t *count, struct err *e);
bool queue_renew(struct queue *q, uint64_t id, uint64_t owner, int64_t lease_ms, int64_t now_ms,
                 struct err *e);

enum queue_outcome_kind {
    QUEUE_DELIVERED,
    QUEUE_FAILED,
    QUEUE_EXPIRED,
    QUEUE_DEFERRED,
};
struct queue_outcome {
    uint32_t recipient; /* queue_recipient.index; must be in the claim and not finished yet */
    enum queue_outcome_kind kind;
    bool attempted;     /* adds one to attempts */
    bool delay_noticed; /* DEFERRED: mark it (never unmarks) */
    int64_t next_ms;    /* DEFERRED: when next */
    struct span reply;  /* kept as last_reply; empty keeps the old one */
};

/* Records outcomes of some or all recipients of a claim, and accepts the notices (NDR, delay or
 * success notice, copies), all or nothing. Notices may use the disk reserve. notice_ids may be NULL
 * or gets notice_count ids. *ended (may be NULL): the claim is over. */
bool queue_finish(struct queue *q, uint64_t id, uint64_t owner,
                  const struct queue_outcome *outcomes, size_t count,
                  const struct queue_submission *notices, size_t notice_count, int64_t now_ms,
                  uint64_t *notice_ids, bool *ended, struct err *e);

/* Gives the claim back; its recipients without an outcome are due at next_ms, no attempt counted.
 * A reason that is not empty becomes their last_reply. */
bool queue_defer(struct queue *q, uint64_t id, uint64_t owner, int64_t next_ms, struct span reason,
                 struct err *e);

/* When the next message that is neither claimed nor held is due (it may be past); INT64_MAX: none.
 * In a store whose leases expire also the end of the next lease. */
bool queue_next_due(struct queue *q, int64_t *due_ms, struct err *e);

/* False while the last results could not be recorded (disk full, I/O error): stop claiming. A
 * claim is then refused but tries the disk, and the queue heals when a commit that writes succeeds.
 * Looking (list, show, counts, check, readers) works all the time. */
bool queue_can_record(struct queue *q);

/* Reads bodies beside the writer, each chunk in its own short transaction. */
struct queue_reader;
bool queue_reader_open(struct queue *q, struct queue_reader **reader, struct err *e);
void queue_reader_close(struct queue_reader **reader);
/* Appends chunk `index` (0..chunk_count-1) of message id to out. ERR_PERM: there is none. */
bool queue_reader_chunk(struct queue_reader *reader, uint64_t id, uint32_t index, struct buf *out,
                        struct err *e);

/* ---- looking at it and handling it ---- */

enum queue_filter_state {
    QUEUE_LIST_ALL, /* RECEIVING is never listed */
    QUEUE_LIST_QUEUED,
    QUEUE_LIST_CLAIMED,
    QUEUE_LIST_HELD,
};
struct queue_filter {
    enum queue_filter_state state;
    uint64_t after;   /* ids greater than this; 0: from the start */
    size_t max;       /* 1..QUEUE_LIST_MAX */
    struct span text; /* part of the sender or of a recipient, ASCII case ignored; empty: all */
};
/* One page, by ascending id; out has room for max. *next is `after` of the next page (it may point
 * there at once); 0: that was the end. A page may be empty and not the last: one call looks at a
 * bounded number of messages, however few the filter lets through, so that mail never waits for
 * somebody who looks. No bodies. */
bool queue_list(struct queue *q, const struct queue_filter *filter, struct queue_message **out,
                size_t *count, uint64_t *next, struct err *e);
bool queue_show(struct queue *q, uint64_t id, struct queue_message **out, struct err *e);
bool queue_hold(struct queue *q, uint64_t id, struct err *e);
bool queue_release(struct queue *q, uint64_t id, struct err *e);
bool queue_retry(struct queue *q, uint64_t id, int64_t now_ms, struct err *e);
bool queue_remove(struct queue *q, uint64_t id, struct err *e);

struct queue_counts {
    uint64_t messages; /* queued + claimed + held */
    uint64_t claimed;
    uint64_t held; /* hold wanted included */
    uint64_t receiving;
    uint64_t bytes; /* of all messages; RECEIVING not included */
};
bool queue_counts(struct queue *q, struct queue_counts *counts, struct err *e);

/* Integrity of what is stored; report gets "ok" or the findings, one a line. May take long. */
bool queue_check(struct queue *q, struct buf *report, bool *sound, struct err *e);
/* The same by a process of its own, whether or not another one has the queue open: on a connection
 * that only reads, in one snapshot. It changes nothing, takes no lock, sweeps nothing; while it
 * reads, the log of a running queue cannot be used anew and grows. A file that is too damaged to be
 * opened is a finding. ERR_PERM: it is no queue that this version knows. */
bool queue_sqlite_check(const char *path, struct buf *report, bool *sound, struct err *e);

/* ---- the clock ---- */

/* The wall clock's time when the queue was opened, but never less than the last time that the queue
 * has recorded, and from there on monotonic: jumps of the wall clock move nothing. Copy it freely.
 */
struct queue_clock {
    int64_t base_ms;
    uint64_t monotonic_base_ms;
};
struct queue_clock queue_clock_start(const struct queue *q, int64_t wall_ms, uint64_t monotonic_ms);
int64_t queue_clock_now(const struct queue_clock *clock, uint64_t monotonic_ms);

/* ---- making one ---- */

struct queue_options {
    bool leases_expire; /* a store that several processes share; else leases never end by time */
    uint64_t reserve_bytes;    /* accept leaves this free for finish */
    uint64_t max_bytes;        /* all that is stored, reserve included; 0: the disk alone decides */
    const char *path;          /* queue_sqlite: the database file */
    const char *vfs;           /* queue_sqlite: NULL, or a VFS for tests */
    unsigned checkpoint_pages; /* queue_sqlite: of the log, 0: the usual 2000 */
};
enum { QUEUE_RESERVE_BYTES = 64 * 1024 * 1024 }; /* the usual reserve */

/* In memory only: the executable specification, and for tests. max_bytes must be given. */
bool queue_memory_new(const struct queue_options *options, struct queue **q, struct err *e);
/* For tests: the next commit of this memory queue fails as a full disk would make it fail. */
void queue_memory_fail_commit(struct queue *q);
/* A file of one process (an OS lock). Opening frees all claims and sweeps RECEIVING. */
bool queue_sqlite_open(const struct queue_options *options, struct queue **q, struct err *e);
/* Rolls back an open batch. Readers are closed before. */
void queue_close(struct queue **q);

#endif
