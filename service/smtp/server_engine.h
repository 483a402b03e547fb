/* server_engine.h - the server's half of an SMTP session without its socket: bytes and time go in,
 * events and bytes come out. RFC 5321 with PIPELINING, SIZE, 8BITMIME, SMTPUTF8, DSN, CHUNKING,
 * ENHANCEDSTATUSCODES, STARTTLS and AUTH.
 *
 * Owner: the session (caller's memory; about 1.5 KiB, more only while something is under way).
 * Threads: the session's; there is nothing shared. Failure: none of these functions fails; without
 * memory the engine says 421 and gives SMTP_SERVER_CLOSE.
 *
 * The loop of a session, after each feed, answer, sent, tls_started and timeout:
 *
 *     while (smtp_server_next_event(s, &event) != SMTP_SERVER_NONE)
 *         ...act on it, answer at once or later...
 *     write smtp_server_output(s), tell smtp_server_sent(s, n);
 *     read only while smtp_server_wants_input(s); set a timer to smtp_server_deadline(s)
 *
 * An event with a token wants an answer: smtp_server_answer() with a reply (NULL: the standard
 * words of the positive one), now or later. Until then no further command is looked at, so what the
 * client pipelined waits; next_event gives NONE.
 *
 * Input is borrowed: fed bytes must stay until next_event gave NONE or smtp_server_keep() was
 * called; what is unread then has been copied (never more than SMTP_SERVER_INPUT_MAX; the copy is
 * freed when it is used up). Spans in an event are valid until the next call, except that `path`
 * and `mechanism` stay until the answer. BODY spans mostly point into the fed bytes: no copy is
 * made.
 *
 * State x command, "+" allowed (table `allowed` in server_verbs.c). DATA and chunk octets and AUTH
 * responses are no commands. With require_tls and no TLS only those marked t are open, the rest is
 * 530 5.7.0. MAIL in READY is an event even then, so that the access rules refuse it in their
 * own words; an answer that would take it becomes the 530.
 *
 *               EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH
 *               t    t                        t    t              t    t
 *   HELLO       +    +    .    .    .    .    +    +    +    +    +    +        .    no hello yet
 *   READY       +    +    +    .    .    .    +    +    +    +    +    +        +
 *   MAIL        +    +    .    +    .    .    +    +    +    +    +    +        .    sender taken
 *   RCPT        +    +    .    +    +    +    +    +    +    +    +    +        .    one or more
 *   CHUNK       +    +    .    .    .    +    +    +    +    +    +    +        .    between BDATs
 *   FAILED      +    +    .    .    .    .    +    +    +    +    +    +        .    a BDAT failed
 *
 * EHLO, HELO, RSET and an accepted STARTTLS end a transaction: RESET tells. The octets of a refused
 * BDAT are consumed all the same. */
#ifndef POSTERN_SMTP_SERVER_ENGINE_H
#define POSTERN_SMTP_SERVER_ENGINE_H

#include "smtp/data_codec.h"
#include "smtp/grammar.h"
#include "smtp/path.h"
#include "smtp/reply.h"

enum {
    SMTP_SERVER_FEED_MAX = 65536,      /* at most so many bytes in one feed */
    SMTP_SERVER_INPUT_MAX = 65536 * 4, /* what may wait: a line and two feeds */
    SMTP_SERVER_AUTH_LINE_MAX = 12288, /* RFC 4954 4 */
    /* The same section: but as long as what the mechanism makes. A ticket of Windows has up to
     * 65,535 octets (MaxTokenSize), in base64 87,380. For the GSS mechanisms alone. */
    SMTP_SERVER_AUTH_TICKET_LINE_MAX = 88 * 1024,
};

/* Times in ms, sizes in octets. Strings and the struct itself are borrowed until they are replaced
 * by smtp_server_set_options or the engine is gone. Start from smtp_server_options_default(). */
struct smtp_server_options {
    const char *hostname;      /* in the greeting, EHLO, QUIT */
    const char *banner;        /* behind the host name in the greeting */
    uint64_t message_size_max; /* content as it will be queued; 0 = no limit */
    uint64_t session_size_max; /* all content of a session; 0 = no limit */
    uint32_t recipients_max;   /* for each message: 452 4.5.3 past it */
    uint32_t messages_max;     /* for each session: 421 at the next MAIL; 0 = no limit */
    uint32_t errors_max;       /* bad commands until 421; forgotten after an accepted message */
    uint32_t junk_max;         /* NOOP, RSET, VRFY, HELP, repeated EHLO, refused MAIL and RCPT until
                                  421: cheap for a flooder, and they reset its idle timer */
    uint32_t command_line_max; /* CRLF included; RFC 5321 says 512 and more with extensions */
    enum smtp_bare_lf bare_lf; /* the listener's policy */
    bool starttls;             /* offered while there is no TLS */
    bool require_tls;          /* 530 5.7.0 Must issue a STARTTLS command first */
    bool smtputf8;
    bool chunking;
    bool dsn;
    const char *auth;            /* mechanisms offered in clear, separated by spaces; "" = none */
    const char *auth_tls;        /* and under TLS; one that is only here gets 538 in clear */
    int64_t greeting_timeout_ms; /* from the greeting to the end of the first command */
    int64_t command_timeout_ms;  /* from one answer to the end of the next command, however many
                                    bytes dribble in meanwhile; also each AUTH response */
    int64_t data_timeout_ms;     /* between two pieces of content */
    int64_t data_grace_ms;       /* content: so long no rate is asked for */
    uint32_t data_rate_min;      /* then octets/s on the average; 0 = none (Postfix: 500) */
    int64_t session_timeout_ms;  /* all in all; 0 = none */
};

void smtp_server_options_default(struct smtp_server_options *options);

enum smtp_server_event_type {
    SMTP_SERVER_NONE,          /* nothing to do: feed more, or answer what is open */
    SMTP_SERVER_CONNECT,       /* token: 220 greets (NULL: the options' banner); any other reply is
                                  sent and the session closed */
    SMTP_SERVER_HELLO,         /* token: 250 (NULL: with the extensions, for EHLO) */
    SMTP_SERVER_STARTTLS,      /* token: 220, then smtp_server_tls_started */
    SMTP_SERVER_AUTH,          /* token: smtp_server_challenge, or 235, or 4xx/5xx */
    SMTP_SERVER_AUTH_RESPONSE, /* token: as AUTH */
    SMTP_SERVER_AUTH_CANCEL,   /* the exchange is over without an outcome; already answered */
    SMTP_SERVER_MAIL,          /* token: 250 opens the transaction */
    SMTP_SERVER_RCPT,          /* token: 2xx takes the recipient */
    SMTP_SERVER_BODY_START,    /* token: 354 (NULL); another reply refuses. For the first BDAT
                                  nothing is sent when it is taken. */
    SMTP_SERVER_BODY,          /* content with CRLF lines, dots undone */
    SMTP_SERVER_BODY_END,      /* token: 250 or 4xx/5xx, the transaction is over. Without a token
                                  (refusal set) the engine has refused the content and said so. */
    SMTP_SERVER_RESET,         /* the transaction is gone; forget sender, recipients, content */
    SMTP_SERVER_CLOSE,         /* last event: send what output holds, then close (lingering) */
};

enum smtp_server_refusal {
    SMTP_REFUSAL_NONE,
    SMTP_REFUSAL_BARE_LF, /* the bare CR/LF policy: 550 5.6.0 */
    SMTP_REFUSAL_SIZE,    /* message_size_max: 552 5.3.4 */
    SMTP_REFUSAL_SESSION, /* session_size_max: 552 5.3.4, or 421 where an earlier message used it up
                           */
};

enum smtp_server_close_reason {
    SMTP_CLOSE_NONE,
    SMTP_CLOSE_QUIT,
    SMTP_CLOSE_REFUSED, /* CONNECT was not answered with 220 */
    SMTP_CLOSE_EARLY,   /* spoke before the greeting */
    SMTP_CLOSE_ERRORS,  /* errors_max or junk_max */
    SMTP_CLOSE_TIMEOUT,
    SMTP_CLOSE_LIMIT,    /* session size, messages, endless line, too much refused content */
    SMTP_CLOSE_PROTOCOL, /* unreadable BDAT, or no SMTP client at all */
    SMTP_CLOSE_SESSION,  /* the session said 421 */
    SMTP_CLOSE_MEMORY,
};

struct smtp_server_event {
    enum smtp_server_event_type type;
    uint32_t token; /* not 0: an answer is wanted */
    union {
        struct {
            struct span name; /* fit for Received and logs: printable ASCII without spaces */
            bool extended;    /* EHLO */
            bool odd;         /* missing, 8-bit or no host name; name is what could be kept */
        } hello;
        struct {
            const char *mechanism; /* upper case */
            bool has_initial;      /* false: no initial response; "=" is an empty one */
            struct span bytes;     /* decoded; wiped at the next call */
        } auth;                    /* AUTH and AUTH_RESPONSE */
        struct {
            const struct smtp_path *path;
            struct smtp_mail_params params;
        } mail;
        struct {
            const struct smtp_path *path;
            struct smtp_rcpt_params params;
        } rcpt;
        bool chunking; /* BODY_START */
        struct span body;
        struct {
            uint64_t size; /* of the content given out */
            enum smtp_server_refusal refusal;
            bool bare_lf; /* one was there (and made CRLF, or refused) */
            bool bare_cr;
        } body_end;
        enum smtp_server_close_reason close;
    };
};

enum smtp_server_state { /* the rows of the table above */
                         SMTP_STATE_HELLO,
                         SMTP_STATE_READY,
                         SMTP_STATE_MAIL,
                         SMTP_STATE_RCPT,
                         SMTP_STATE_CHUNK,
                         SMTP_STATE_FAILED,
                         SMTP_STATE_COUNT,
};

enum smtp_server_mode { /* what the next input bytes are */
                        SMTP_MODE_CONNECT,
                        SMTP_MODE_COMMAND,
                        SMTP_MODE_AUTH,
                        SMTP_MODE_DATA,
                        SMTP_MODE_CHUNK,
                        SMTP_MODE_DISCARD, /* octets of a refused BDAT */
                        SMTP_MODE_TLS,     /* 220 was said, the handshake has not ended: input is
                                              dropped */
                        SMTP_MODE_CLOSED,
};

/* Read by its functions only. */
struct smtp_server {
    const struct smtp_server_options *options;
    enum smtp_server_state state;
    enum smtp_server_mode mode;
    enum smtp_server_event_type open; /* the event whose answer is awaited */
    enum smtp_server_close_reason close_reason;
    struct span borrowed; /* unread bytes of the last feed, or */
    struct buf held;      /* unread bytes of our own; one of the two is empty */
    struct buf out;
    struct buf decoded; /* an AUTH response */
    size_t scanned;     /* so far no LF in the input */
    size_t line_n;      /* the line under work, its end included */
    size_t skipped;     /* octets of an overlong line */
    size_t sent_emergency;
    uint32_t token;
    uint32_t last_token;
    uint32_t errors, junk, blanks, messages, recipients;
    bool started, extended, hello_extended, tls, authenticated, smtputf8;
    bool skipping, skip_cr, skip_bdat, line_bare, after_bare_lf;
    bool auth_blank, chunking, chunk_last, body_stopped, reset_due, close_due, emergency;
    enum smtp_server_refusal refusal;
    struct smtp_data_decoder decoder;
    uint64_t chunk_left, chunk_size;
    uint64_t body_size;    /* content given out */
    uint64_t body_octets;  /* as they came, since body_since */
    uint64_t discarded;    /* of them after a refusal */
    uint64_t session_size; /* content of all messages */
    uint64_t earlier_size; /* of those before this one */
    int64_t now, since, last_byte, born, paused_at;
    char mechanism[24];
    char client[64];
    struct buf *trace;     /* the owner's, or NULL: server_trace.h */
    bool trace_content;    /* the command that is noted last takes content */
    struct smtp_path path; /* of the MAIL or RCPT under work; for HELLO its address is the name */
};

/* client is the address as text, for "Hello [192.0.2.7]"; tls true for implicit TLS. The first
 * event is CONNECT. */
void smtp_server_init(struct smtp_server *s, const struct smtp_server_options *options,
                      const char *client, bool tls, int64_t now);
void smtp_server_deinit(struct smtp_server *s); /* wipes what a client may have sent */

/* At most SMTP_SERVER_FEED_MAX bytes, borrowed as told above. Call only while wants_input (what is
 * fed all the same is kept up to SMTP_SERVER_INPUT_MAX, then 421). Before the greeting it may be
 * called to catch early talkers. */
void smtp_server_feed(struct smtp_server *s, struct span bytes, int64_t now);
enum smtp_server_event_type smtp_server_next_event(struct smtp_server *s,
                                                   struct smtp_server_event *event);
/* Copies what is still borrowed, so that the caller may have its buffer back in mid-body. */
void smtp_server_keep(struct smtp_server *s);
bool smtp_server_wants_input(const struct smtp_server *s);

/* False (and nothing done) where the token is not the open one: an answer that came too late. A 421
 * from the session is sent and closes. */
bool smtp_server_answer(struct smtp_server *s, uint32_t token, const struct smtp_reply *reply,
                        int64_t now);
/* Answers AUTH or AUTH_RESPONSE with 334 and the bytes in base64. */
bool smtp_server_challenge(struct smtp_server *s, uint32_t token, struct span bytes, int64_t now);
/* The handshake ended well: forgets hello, AUTH and everything in clear. */
void smtp_server_tls_started(struct smtp_server *s, int64_t now);

/* While content comes: give out no more of it, read it to its end and then let the session answer
 * BODY_END with a 4xx or 5xx (disk full, queue gone); a 2xx there becomes 451. */
void smtp_server_stop_body(struct smtp_server *s);

/* Ends the session from outside with a 421 (service stops, connection closed by hand): RESET where
 * there is a transaction, then CLOSE. An open token dies. */
void smtp_server_shutdown(struct smtp_server *s, const struct smtp_reply *reply);

/* New limits and offers, between transactions only: false (nothing changed) within one, in an AUTH
 * exchange or while an answer is open. */
bool smtp_server_set_options(struct smtp_server *s, const struct smtp_server_options *options);

/* What is to be sent, valid until the next call; after smtp_server_sent ask again, until it is
 * empty (also before closing). */
struct span smtp_server_output(const struct smtp_server *s);
void smtp_server_sent(struct smtp_server *s, size_t n);

/* When smtp_server_timeout is to be called; INT64_MAX while the client owes nothing. */
int64_t smtp_server_deadline(const struct smtp_server *s);
/* Past the deadline: 421 4.4.1 and CLOSE. Earlier it does nothing. */
void smtp_server_timeout(struct smtp_server *s, int64_t now);
/* While the session does not read (its own store is slow) the client's clocks stand still. */
void smtp_server_pause(struct smtp_server *s, int64_t now);
void smtp_server_resume(struct smtp_server *s, int64_t now);

bool smtp_server_in_transaction(const struct smtp_server *s);
bool smtp_server_is_authenticated(const struct smtp_server *s);
bool smtp_server_is_tls(const struct smtp_server *s);

#endif
