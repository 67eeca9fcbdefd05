//! What HTTP.md promises, and the conversations that show it.

use std::path::Path;

/// A clause, in the order of that page, and the files of `tests/wire` that show it.
const CLAUSES: &[(&str, &[&str])] = &[
    (
        "Content-Length with Transfer-Encoding",
        &["reject_length_and_chunked"],
    ),
    (
        "Content-Length twice, as a list",
        &["reject_two_lengths", "reject_length_list"],
    ),
    (
        "not all digits, overflows",
        &[
            "reject_length_sign",
            "reject_length_overflow",
            "length_zeros",
        ],
    ),
    (
        "exactly one chunked",
        &[
            "reject_chunked_twice",
            "reject_two_codings",
            "reject_empty_coding",
        ],
    ),
    ("Transfer-Encoding in HTTP/1.0", &["reject_chunked_http10"]),
    ("501 for an unknown coding", &["reject_unknown_coding"]),
    (
        "bare CR, bare LF, NUL",
        &["reject_bare_cr_in_pieces", "reject_bare_lf", "reject_nul"],
    ),
    (
        "space before the colon, obs-fold",
        &["reject_space_before_colon", "reject_obs_fold"],
    ),
    (
        "white space before the line",
        &[
            "reject_space_before_line",
            "empty_line_between",
            "lone_empty_line",
        ],
    ),
    (
        "field-name, control characters",
        &["reject_field_name", "reject_control"],
    ),
    (
        "chunk sizes",
        &[
            "chunk_size_empty",
            "bad_chunk_of_client",
            "chunk_size_spaced",
            "chunk_size_long",
        ],
    ),
    (
        "chunk extensions",
        &["chunk_extension_none", "chunk_extensions_long"],
    ),
    ("a chunk without its CRLF", &["chunk_without_end"]),
    (
        "no Host, two Hosts",
        &[
            "reject_no_host",
            "reject_two_hosts",
            "reject_two_hosts_unequal",
            "http10_no_host",
        ],
    ),
    (
        "authority",
        &[
            "reject_host_list",
            "reject_userinfo",
            "reject_host_empty",
            "reject_host_port",
        ],
    ),
    ("absolute-form, 421", &["absolute_form"]),
    (
        "431 and 414",
        &[
            "reject_head_long",
            "reject_fields_many",
            "trailers_long",
            "reject_line_long",
            "large_heads",
        ],
    ),
    ("505, 1.2", &["reject_version", "version_12"]),
    ("CONNECT, TRACE", &["reject_connect", "reject_trace"]),
    (
        "OPTIONS with Max-Forwards",
        &["options", "reject_max_forwards"],
    ),
    ("no site", &["not_found", "post_to_nobody"]),
    (
        "no backend, broke, lied, slow",
        &[
            "no_backend",
            "connect_refused_by_all",
            "lie_no_http",
            "first_byte_timeout",
        ],
    ),
    ("Host matching", &["host_case_port_dot", "wildcard"]),
    (
        "hop-by-hop",
        &[
            "hop_by_hop",
            "named_away",
            "named_away_cookie",
            "te_trailers",
            "framing_lookalikes",
        ],
    ),
    (
        "forwarding fields",
        &[
            "get",
            "forwarding_spoofed",
            "route_forwarding_spoofed",
            "route_forwarding_trusted",
            "forwarding_trusted_changed",
        ],
    ),
    ("Via, 508", &["loop", "via_of_others"]),
    (
        "our own version",
        &[
            "http10",
            "http10_keep_alive",
            "http10_keep_alive_refused",
            "interim_for_http10",
        ],
    ),
    (
        "interim responses",
        &[
            "early_hints",
            "interim_flood",
            "interim_with_framing",
            "lie_switching",
        ],
    ),
    (
        "Expect",
        &[
            "expect_continue",
            "expect_continue_late",
            "expect_continue_never",
            "expect_refused",
        ],
    ),
    ("early final response", &["early_response"]),
    (
        "trailers",
        &["chunked_with_trailers", "bad_trailer_of_backend"],
    ),
    (
        "HEAD, 204, 304",
        &[
            "head_method",
            "no_content_not_modified",
            "no_content_with_body",
        ],
    ),
    (
        "half close, abort",
        &[
            "client_ends",
            "client_ends_in_body",
            "client_aborts",
            "client_aborts_in_body",
        ],
    ),
    (
        "pipelining",
        &[
            "pipelining",
            "pipelining_stops_at_refusal",
            "nothing_after_refusal",
        ],
    ),
    (
        "responses parsed as strictly",
        &[
            "no_reason",
            "lie_status_600",
            "lie_two_lengths",
            "lie_length_and_chunked",
            "lie_obs_fold",
            "lie_bare_lf",
            "lie_version",
            "lie_chunked_http10",
            "lie_fields_many",
            "lie_head_long",
            "lie_head_cut",
        ],
    ),
    (
        "never a message that looks complete",
        &[
            "short_body",
            "short_chunks",
            "short_chunks_http10",
            "reset_in_body",
            "until_close_reset",
            "bad_chunk_of_backend",
            "bad_chunk_after_response_began",
            "bytes_behind_response",
        ],
    ),
    (
        "timeouts",
        &[
            "head_timeout",
            "keep_alive_timeout",
            "body_timeout",
            "first_byte_timeout",
            "response_gap_timeout",
            "lie_head_trickles",
            "upstream_idle",
            "site_first_byte",
            "site_keep_alive",
        ],
    ),
    (
        "retry",
        &[
            "connect_refused",
            "connect_refused_twice",
            "retry_get",
            "retry_fresh_get",
            "retry_not_post",
            "retry_not_body",
            "retry_not_after_head",
            "retry_not_after_interim",
            "stale_pooled",
        ],
    ),
    (
        "the backend's keep-alive limit",
        &[
            "backend_keep_alive_limit",
            "backend_keep_alive_none",
            "backend_says_close",
        ],
    ),
];

#[test]
fn every_clause_has_a_conversation() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut missing = Vec::new();
    for (clause, files) in CLAUSES {
        for file in *files {
            if !directory.join(format!("{file}.txt")).is_file() {
                missing.push(format!("{clause}: {file}"));
            }
        }
    }
    assert!(missing.is_empty(), "no conversation for {missing:#?}");
}
