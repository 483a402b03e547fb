/* queue_kit.h - what the tests of the queue share: a folder for its file, and short ways to say
 * "take this message" and "look at that one". Failures end the test (cmocka). */
#ifndef POSTERN_SUPPORT_QUEUE_KIT_H
#define POSTERN_SUPPORT_QUEUE_KIT_H

#include "queue/queue.h"

#define KIT_OWNER 7U
#define KIT_LEASE_MS 60000

/* A fresh folder below TMPDIR (or /tmp), and its removal with the queue's files. */
void kit_folder(char *out, size_t size);
void kit_folder_remove(const char *folder);

/* recipients: addresses separated by spaces. */
struct kit_mail {
    struct queue_submission submission;
    struct queue_addressee recipients[16];
    struct span body[2];
};
void kit_mail(struct kit_mail *m, const char *sender, const char *recipients, struct span head,
              struct span body);

/* Must succeed. */
uint64_t kit_accept(struct queue *q, const char *sender, const char *recipients, const char *body,
                    int64_t now_ms);
/* Exactly one message is due, and is claimed by KIT_OWNER. */
struct queue_message *kit_claim(struct queue *q, int64_t now_ms);
size_t kit_claim_count(struct queue *q, int64_t now_ms); /* how many came; they stay claimed */
void kit_finish(struct queue *q, uint64_t id, uint32_t recipient, enum queue_outcome_kind kind,
                int64_t next_ms, int64_t now_ms);

/* A body that its seed determines wholly: different seeds differ early and late. */
void kit_body(uint64_t seed, uint8_t *out, size_t n);

uint64_t kit_random(uint64_t *state);

#endif
