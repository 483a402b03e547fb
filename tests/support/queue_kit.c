#include "support/queue_kit.h"

#include "support/test.h"

#include "platform/files.h"
#include "support/folder.h"

void kit_folder(char *out, size_t size)
{
    test_folder("queue", out, size);
}

void kit_folder_remove(const char *folder)
{
    static const char *const names[] = {"queue.db", "queue.db-wal", "queue.db-shm",
                                        "queue.db-journal", "queue.db.lock"};
    struct err e;
    char path[512];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        files_remove(path, &e);
    }
    remove(folder);
}

void kit_mail(struct kit_mail *m, const char *sender, const char *recipients, struct span head,
              struct span body)
{
    *m = (struct kit_mail){0};
    struct queue_submission *s = &m->submission;
    s->envelope.sender = span_str(sender);
    s->envelope.helo = span_str("client.example");
    s->recipients = m->recipients;
    for (struct span rest = span_str(recipients); rest.n > 0;) {
        size_t space = span_find(rest, ' ');
        assert_in_range(s->recipient_count, 0, 15);
        m->recipients[s->recipient_count++].address = span_sub(rest, 0, space);
        rest = span_from(rest, space == rest.n ? space : space + 1);
    }
    m->body[0] = head;
    m->body[1] = body;
    s->body = m->body;
    s->body_count = 2;
}

uint64_t kit_accept(struct queue *q, const char *sender, const char *recipients, const char *body,
                    int64_t now_ms)
{
    struct kit_mail m;
    struct err e = {0};
    uint64_t id = 0;
    kit_mail(&m, sender, recipients, span_str("Received: here\r\n"), span_str(body));
    if (!queue_accept(q, &m.submission, now_ms, &id, &e))
        fail_msg("accept: %s", e.text);
    assert_true(id != 0);
    return id;
}

struct queue_message *kit_claim(struct queue *q, int64_t now_ms)
{
    struct queue_message *m[2];
    struct err e = {0};
    size_t count;
    if (!queue_claim(q, KIT_OWNER, KIT_LEASE_MS, now_ms, 2, m, &count, &e))
        fail_msg("claim: %s", e.text);
    assert_int_equal(count, 1);
    return m[0];
}

size_t kit_claim_count(struct queue *q, int64_t now_ms)
{
    struct queue_message *m[100];
    struct err e = {0};
    size_t count;
    if (!queue_claim(q, KIT_OWNER, KIT_LEASE_MS, now_ms, 100, m, &count, &e))
        fail_msg("claim: %s", e.text);
    for (size_t i = 0; i < count; i++)
        queue_message_free(&m[i]);
    return count;
}

void kit_finish(struct queue *q, uint64_t id, uint32_t recipient, enum queue_outcome_kind kind,
                int64_t next_ms, int64_t now_ms)
{
    struct err e = {0};
    struct queue_outcome o = {.recipient = recipient,
                              .kind = kind,
                              .attempted = true,
                              .next_ms = next_ms,
                              .reply = span_str("250 so it went")};
    if (!queue_finish(q, id, KIT_OWNER, &o, 1, NULL, 0, now_ms, NULL, NULL, &e))
        fail_msg("finish: %s", e.text);
}

uint64_t kit_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * 2685821657736338717U;
}

void kit_body(uint64_t seed, uint8_t *out, size_t n)
{
    uint64_t state = seed * 0x9E3779B97F4A7C15U + 0x1234567U;
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(kit_random(&state) >> 56);
}
