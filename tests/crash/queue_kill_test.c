/* SIGKILL at random moments: a child takes and delivers mail and says through a pipe what was
 * committed; the parent kills it and looks whether all of that is there. (SIGKILL keeps what the
 * system has cached; for the power cut see queue_crash_test.c.) */
#include "support/test.h"

#include "queue/queue.h"
#include "support/queue_kit.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KILLS = 40, MOST = 60000, BATCH_MAX = 12, BODY_MAX = 200 * 1000 };

/* ACCEPTED and FINISHED are said after the commit, FINISHING before it. */
enum word { ACCEPTED, FINISHING, FINISHED };
struct report {
    uint64_t id, seed, size;
    uint64_t word; /* enum word; wide, so that the struct has no holes */
};

struct known {
    uint64_t id, seed, size;
    bool finishing, finished, seen;
};

static uint8_t body[BODY_MAX];
static struct known known[MOST];
static size_t known_count;

static void open_queue(const char *path, struct queue **q)
{
    struct queue_options options = {.path = path, .checkpoint_pages = 200};
    struct err e = {0};
    if (queue_sqlite_open(&options, q, &e))
        return;
    fprintf(stderr, "open: %s\n", e.text);
    abort();
}

/* ---- the child ---- */

static void child_must(bool ok, const struct err *e)
{
    if (ok)
        return;
    fprintf(stderr, "child: %s\n", e->text);
    _exit(3);
}

static void say(int pipe_end, const struct report *reports, size_t n)
{
    /* At most PIPE_BUF bytes at once are written whole or not at all. */
    for (size_t i = 0; i < n; i++) {
        if (write(pipe_end, &reports[i], sizeof reports[i]) != (ssize_t)sizeof reports[i])
            _exit(4);
    }
}

static void child_accept(struct queue *q, uint64_t *random, int pipe_end)
{
    static const size_t sizes[] = {100, 4096, 4096, 20000, 150 * 1000};
    struct report r[BATCH_MAX];
    struct err e = {0};
    size_t n = 1 + kit_random(random) % BATCH_MAX;
    child_must(queue_batch_begin(q, &e), &e);
    for (size_t i = 0; i < n; i++) {
        struct kit_mail mail;
        r[i] = (struct report){.seed = kit_random(random), .word = ACCEPTED};
        r[i].size = sizes[kit_random(random) % 5];
        kit_body(r[i].seed, body, r[i].size);
        kit_mail(&mail, "a@b.example", "r@x.example", span_of(body, r[i].size), (struct span){0});
        child_must(queue_accept(q, &mail.submission, 1000, &r[i].id, &e), &e);
    }
    child_must(queue_batch_commit(q, &e), &e);
    say(pipe_end, r, n);
}

static void child_deliver(struct queue *q, int pipe_end)
{
    struct queue_message *m[BATCH_MAX];
    struct report r[BATCH_MAX];
    struct err e = {0};
    struct queue_outcome o = {.recipient = 0, .kind = QUEUE_DELIVERED, .attempted = true};
    size_t n;
    child_must(queue_claim(q, KIT_OWNER, KIT_LEASE_MS, 1000, BATCH_MAX / 2, m, &n, &e), &e);
    for (size_t i = 0; i < n; i++)
        r[i] = (struct report){.id = m[i]->id, .word = FINISHING};
    say(pipe_end, r, n);
    child_must(queue_batch_begin(q, &e), &e);
    for (size_t i = 0; i < n; i++) {
        child_must(queue_finish(q, m[i]->id, KIT_OWNER, &o, 1, NULL, 0, 1000, NULL, NULL, &e), &e);
        r[i].word = FINISHED;
        queue_message_free(&m[i]);
    }
    child_must(queue_batch_commit(q, &e), &e);
    say(pipe_end, r, n);
}

static void child(const char *path, uint64_t random, int pipe_end)
{
    struct queue *q;
    open_queue(path, &q);
    for (;;) {
        child_accept(q, &random, pipe_end);
        if (kit_random(&random) % 2 == 0)
            child_deliver(q, pipe_end);
    }
}

/* ---- the parent ---- */

static struct known *find(uint64_t id)
{
    for (size_t i = 0; i < known_count; i++) {
        if (known[i].id == id)
            return &known[i];
    }
    return NULL;
}

static void hear(const struct report *r)
{
    struct known *k = find(r->id);
    if (r->word == ACCEPTED) {
        assert_null(k);
        assert_true(known_count < MOST);
        known[known_count++] = (struct known){.id = r->id, .seed = r->seed, .size = r->size};
        return;
    }
    if (k == NULL) /* from a batch whose commit was done, but not said, at an earlier kill */
        return;
    k->finishing = true;
    k->finished = k->finished || r->word == FINISHED;
}

static void pause_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* A second child does the killing, while the parent empties the pipe: a full one would stop the
 * first child at the same place each time. */
static void run_and_kill(const char *path, uint64_t seed, uint64_t ms)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        child(path, seed, ends[1]);
    }
    close(ends[1]);
    pid_t killer = fork();
    assert_true(killer >= 0);
    if (killer == 0) {
        close(ends[0]);
        pause_ms(ms);
        kill(pid, SIGKILL);
        _exit(0);
    }
    struct report r;
    size_t have = 0;
    ssize_t n;
    while ((n = read(ends[0], (char *)&r + have, sizeof r - have)) > 0) {
        have += (size_t)n;
        if (have < sizeof r)
            continue;
        hear(&r);
        have = 0;
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(waitpid(killer, &status, 0), killer);
}

static void check_body(struct queue_reader *reader, const struct queue_message *m,
                       const struct known *k)
{
    struct buf got;
    struct err e = {0};
    buf_init(&got, BODY_MAX + 1);
    for (uint32_t i = 0; i < m->chunk_count; i++) {
        if (!queue_reader_chunk(reader, m->id, i, &got, &e))
            fail_msg("message %d: chunk %u: %s", (int)m->id, (unsigned)i, e.text);
    }
    kit_body(k->seed, body, k->size);
    assert_true(span_equal(buf_span(&got), span_of(body, k->size)));
    buf_deinit(&got);
}

static void check_sound(struct queue *q)
{
    struct buf report;
    struct err e = {0};
    bool sound;
    buf_init(&report, 20000);
    if (!queue_check(q, &report, &sound, &e) || !sound)
        fail_msg("%s %s", e.text, buf_cstr(&report));
    buf_deinit(&report);
}

static size_t unsaid; /* committed, but the kill came before the word */

static void verify(const char *path)
{
    static struct queue_message *m[QUEUE_LIST_MAX];
    struct queue *q;
    struct queue_reader *reader;
    struct queue_filter filter = {.max = QUEUE_LIST_MAX};
    struct err e = {0};
    size_t count;
    uint64_t next;
    open_queue(path, &q);
    check_sound(q);
    assert_true(queue_reader_open(q, &reader, &e));
    for (size_t i = 0; i < known_count; i++)
        known[i].seen = false;
    do {
        assert_true(queue_list(q, &filter, m, &count, &next, &e));
        for (size_t i = 0; i < count; i++) {
            struct known *k = find(m[i]->id);
            if (k != NULL) {
                k->seen = true;
                check_body(reader, m[i], k);
            } else {
                unsaid++;
                assert_true(queue_remove(q, m[i]->id, &e));
            }
            queue_message_free(&m[i]);
        }
        filter.after = next;
    } while (next != 0);
    for (size_t i = 0; i < known_count; i++) {
        if (!known[i].seen && !known[i].finishing)
            fail_msg("message %d was committed and is lost", (int)known[i].id);
        if (known[i].seen && known[i].finished)
            fail_msg("message %d was finished and is back", (int)known[i].id);
    }
    queue_reader_close(&reader);
    queue_close(&q);
}

/* What is gone need not be looked for again. */
static void forget_finished(size_t *accepted, size_t *finished)
{
    size_t kept = 0;
    for (size_t i = 0; i < known_count; i++) {
        if (known[i].seen) {
            known[i].finishing = false;
            known[kept++] = known[i];
        } else {
            ++*finished;
        }
    }
    known_count = kept;
    *accepted = kept + *finished;
}

static void every_commit_survives_the_kill(void **state)
{
    (void)state;
    char folder[256], path[300];
    uint64_t random = 20240607;
    size_t accepted = 0, finished = 0;
    kit_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/queue.db", folder);
    for (int i = 0; i < KILLS; i++) {
        run_and_kill(path, kit_random(&random), 15 + kit_random(&random) % 90);
        verify(path);
        forget_finished(&accepted, &finished);
    }
    print_message("%d kills: %zu messages committed, %zu of them finished, all accounted for; %zu "
                  "committed without a word\n",
                  KILLS, accepted, finished, unsaid);
    assert_true(accepted > 200 && finished > 20);
    kit_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_commit_survives_the_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
