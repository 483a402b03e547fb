/* Pickup files as they lie in the folder: who the envelope names, and what is left of the text. */
#include "session/pickup_file.h"

#include "support/test.h"

#include <unistd.h>

static char path[] = "/tmp/postern-pickup-XXXXXX";

static void write_file(struct span text)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(text.p, 1, text.n, out), text.n);
    assert_int_equal(fclose(out), 0);
}

/* The envelope as "sender|recipient|recipient", the message to its end. */
static void check(const char *text, const char *envelope, const char *message)
{
    struct pickup_file f;
    struct err e = {ERR_NONE, ""};
    struct buf said, body;
    write_file(span_str(text));
    if (!pickup_file_open(&f, path, &e))
        fail_msg("%s\n  refused: %s", text, e.text);
    buf_init(&said, 100000);
    buf_init(&body, 1 << 20);
    (void)buf_add(&said, f.sender);
    for (size_t i = 0; i < f.recipient_count; i++) {
        (void)buf_add_byte(&said, '|');
        (void)buf_add(&said, f.recipients[i]);
    }
    assert_string_equal(buf_cstr(&said), envelope);
    size_t before;
    do {
        before = body.n;
        assert_true(pickup_file_next(&f, &body, &e));
    } while (body.n != before);
    assert_string_equal(buf_cstr(&body), message);
    pickup_file_close(&f);
    buf_deinit(&said);
    buf_deinit(&body);
}

static void check_refused(struct span text, const char *why)
{
    struct pickup_file f;
    struct err e = {ERR_NONE, ""};
    write_file(text);
    assert_false(pickup_file_open(&f, path, &e));
    assert_int_equal(e.class, ERR_PERM);
    if (strstr(e.text, why) == NULL)
        fail_msg("expected %s, got %s", why, e.text);
}

static void x_lines_make_the_envelope_and_are_taken_off(void **state)
{
    (void)state;
    check("x-sender: s@a\r\nX-Receiver: <r@b>\r\nx-receiver: R@B\r\nx-receiver: q@b\r\n"
          "From: f@a\r\nTo: t@b\r\n\r\nhi\r\n",
          "s@a|r@b|q@b", "From: f@a\r\nTo: t@b\r\n\r\nhi\r\n");
    check("x-sender: <>\r\nx-receiver: r@b\r\n\r\nhi\r\n", "|r@b", "\r\nhi\r\n");
}

static void without_x_lines_the_header_names_them(void **state)
{
    (void)state;
    check("From: F <f@a>, g@a\r\nTo: T <t@b>,\r\n u@b\r\nCc: T@B\r\nBcc: hidden@b,\r\n two@b\r\n"
          "Subject: s\r\n\r\nBcc: body\r\n",
          "f@a|t@b|u@b|hidden@b|two@b",
          "From: F <f@a>, g@a\r\nTo: T <t@b>,\r\n u@b\r\nCc: T@B\r\nSubject: s\r\n\r\n"
          "Bcc: body\r\n");
}

static void line_ends_become_crlf(void **state)
{
    (void)state;
    check("From: f@a\nTo: t@b\n\none\n\ntwo\rthree\r\nfour\r", "f@a|t@b",
          "From: f@a\r\nTo: t@b\r\n\r\none\r\n\r\ntwo\r\nthree\r\nfour\r\n");
}

static void what_cannot_be_sent_is_refused(void **state)
{
    (void)state;
    check_refused(span_str("From: f@a\r\nSubject: s\r\n\r\nhi\r\n"), "no recipient");
    check_refused(span_str("From: f@a\r\nTo: broken one, t@b\r\n\r\n"), "To field");
    check_refused(span_str("From: <f@a\r\nTo: t@b\r\n\r\n"), "From field");
    check_refused(span_str("x-sender: a@a\r\nx-sender: b@b\r\nx-receiver: r@b\r\n\r\n"),
                  "more than one x-sender");
    check_refused(span_str(""), "no recipient");
}

static void a_header_without_end_is_refused(void **state)
{
    (void)state;
    size_t n = 1024 * 1024;
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = "X: yyyyyyyyyyyy\n"[i % 16];
    memcpy(text, "From: f@a\nTo: b\n", 16);
    check_refused(span_of(text, n), "no end of the header");
    free(text);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x_lines_make_the_envelope_and_are_taken_off),
        cmocka_unit_test(without_x_lines_the_header_names_them),
        cmocka_unit_test(line_ends_become_crlf),
        cmocka_unit_test(what_cannot_be_sent_is_refused),
        cmocka_unit_test(a_header_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
