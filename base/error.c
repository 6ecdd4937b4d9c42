/* The error table's columns as functions. Owns nothing, cannot fail. */
#include "base/error.h"

const char *kw_error_text(int code) {
    switch (code) {
    case KW_OK: return "ok";
#define X(name, retry, ran, text)                                                                                      \
    case KW_E##name: return text;
        KW_ERROR_MAP(X)
#undef X
    default: return "unknown error";
    }
}

bool kw_error_retryable(int code) {
    switch (code) {
#define X(name, retry, ran, text)                                                                                      \
    case KW_E##name: return retry;
        KW_ERROR_MAP(X)
#undef X
    default: return false;
    }
}

bool kw_error_may_have_run(int code) {
    switch (code) {
#define X(name, retry, ran, text)                                                                                      \
    case KW_E##name: return ran;
        KW_ERROR_MAP(X)
#undef X
    default: return false;
    }
}
