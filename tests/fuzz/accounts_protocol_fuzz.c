/* Any bytes as a question and as an answer between the service and the account helper: never a read
 * past them; what is whole formats to the same bytes; every beginning of it wants more. */
#include "base/account_protocol.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void try_question(struct span in)
{
    struct account_question q, again;
    uint8_t out[ACCOUNT_QUESTION_MAX];
    if (account_question_parse(in, &q) != ACCOUNT_PARSED_WHOLE)
        return;
    must(q.group_count <= ACCOUNT_GROUPS_MAX && q.service.n > 0 &&
         (q.act == ACCOUNT_VERIFY) == (q.password.n > 0));
    must(account_question_format(&q, out, sizeof out) == in.n && memcmp(out, in.p, in.n) == 0);
    for (size_t n = 0; n < in.n; n++)
        must(account_question_parse(span_sub(in, 0, n), &again) == ACCOUNT_PARSED_MORE);
}

static void try_answer(struct span in)
{
    struct account_answer a;
    uint8_t out[ACCOUNT_ANSWER_MAX];
    if (account_answer_parse(in, 8, &a) != ACCOUNT_PARSED_WHOLE)
        return;
    must(a.result < 8);
    must(account_answer_format(&a, out, sizeof out) == in.n && memcmp(out, in.p, in.n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(size == 0 ? 1 : size); /* exact, so that ASan sees a read past it */
    if (bytes == NULL)
        return 0;
    if (size > 0)
        memcpy(bytes, data, size);
    try_question(span_of(bytes, size));
    try_answer(span_of(bytes, size));
    free(bytes);
    return 0;
}
