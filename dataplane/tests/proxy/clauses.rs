//! What HTTP.md promises, and what shows it.

use std::collections::BTreeSet;
use std::path::Path;

/// A clause, in the order of that page, and the files of `tests/wire` that show it; behind them
/// what stands on other pages.
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
        &[
            "reject_bare_cr_in_pieces",
            "reject_bare_lf",
            "reject_nul",
            "reject_garbage",
            "head_in_pieces",
        ],
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
        &["reject_field_name", "reject_control", "obs_text"],
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
    (
        "CONNECT, TRACE",
        &["reject_connect", "reject_trace", "unknown_method"],
    ),
    (
        "OPTIONS with Max-Forwards",
        &["options", "reject_max_forwards"],
    ),
    ("no site", &["not_found", "post_to_nobody"]),
    (
        "denied, suspended",
        &[
            "denied_by_host",
            "denied_by_host_behind_proxy",
            "denied_by_site",
            "denied_by_site_before_routes",
            "denied_by_site_others",
            "suspended",
        ],
    ),
    (
        "site over a limit: 429, 503; head and body",
        &[
            "limit_rate",
            "limit_connections",
            "limit_head",
            "limit_body",
            "limit_body_fits",
            "limit_body_chunked",
        ],
    ),
    (
        "no backend, broke, lied, slow",
        &[
            "no_backend",
            "connect_refused_by_all",
            "lie_no_http",
            "first_byte_timeout",
        ],
    ),
    (
        "keep-alive, and close on both sides",
        &["close_asked", "keep_alive"],
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
    (
        "trusted ranges",
        &[
            "forwarding_trusted",
            "forwarding_not_trusted",
            "proxy_trusted",
            "proxy_not_trusted",
            "request_id_trusted",
        ],
    ),
    ("X-Request-Id", &["request_id", "request_id_trusted"]),
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
            "upload_after_continue_takes_time",
        ],
    ),
    ("early final response", &["early_response"]),
    (
        "Upgrade",
        &[
            "tunnel",
            "tunnel_not_asked_for",
            "tunnel_http10",
            "tunnel_to_something_else",
            "tunnel_interim_first",
            "tunnel_refused",
            "tunnel_retry",
            "tunnel_switch_in_pieces",
            "route_upgrade",
        ],
    ),
    (
        "nothing is tunnelled before the 101",
        &[
            "tunnel_early_bytes",
            "tunnel_refused_early_bytes",
            "tunnel_unreachable_early_bytes",
            "tunnel_bytes_with_the_switch",
        ],
    ),
    (
        "the ends of a tunnel",
        &[
            "tunnel_half_close_of_client",
            "tunnel_half_close_of_backend",
            "tunnel_client_ends_before_switch",
            "tunnel_client_resets",
            "tunnel_backend_resets",
        ],
    ),
    (
        "trailers",
        &[
            "chunked_with_trailers",
            "bad_trailer_of_backend",
            "trailers_many_of_backend",
        ],
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
            "client_ends_in_head",
        ],
    ),
    (
        "pipelining",
        &[
            "pipelining",
            "pipelining_stops_at_refusal",
            "nothing_after_refusal",
            "route_pipelined",
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
            "bytes_between_responses",
            "response_before_request",
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
            "until_close",
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
            "proxy_header_timeout",
            "tunnel_idle",
            "tunnel_idle_not_response_gap",
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
            "route_retry",
            "proxy_sent_retried",
        ],
    ),
    (
        "retry of a body that is held",
        &[
            "retry_body",
            "retry_body_behind_head",
            "retry_body_chunked",
            "retry_body_not_post",
            "retry_body_not_sent",
            "retry_body_pooled",
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
    (
        "PROXY protocol, accepted",
        &[
            "proxy_v1",
            "proxy_v1_in_pieces",
            "proxy_v1_unknown",
            "proxy_v1_not_listed",
            "proxy_v2",
            "proxy_v2_local",
            "proxy_v2_not_listed",
            "proxy_header_bad",
            "proxy_header_cut",
            "proxy_header_long",
            "proxy_header_missing",
            "proxy_header_none_at_all",
        ],
    ),
    ("PROXY protocol, sent", &["proxy_sent_v1", "proxy_sent_v2"]),
    (
        "routes",
        &[
            "route_pools",
            "route_paths",
            "route_path_alone",
            "route_redirect",
            "route_redirect_body",
            "route_respond",
            "route_rewrite",
        ],
    ),
    (
        "fields set, added and removed",
        &["route_fields", "route_fields_trailers"],
    ),
    (
        "Balancing",
        &[
            "round_robin",
            "hash_uri",
            "hash_source",
            "backup",
            "backup_unused",
        ],
    ),
];

/// Clauses that no conversation can show, for they need many connections, much data or the end of
/// a plane: the file of `tests/proxy`, and its test.
const CLAUSES_OF_TESTS: &[(&str, &str, &str)] = &[
    ("`write`", "bodies", "a_reader_without_progress_is_cut_off"),
    (
        "`write`",
        "bodies",
        "a_reader_that_is_slow_but_steady_is_not_cut_off",
    ),
    (
        "`write` in a tunnel",
        "tunnels",
        "a_side_that_takes_nothing_is_cut_off",
    ),
    (
        "`connect`",
        "connections",
        "a_backend_that_does_not_answer_a_connect_is_too_slow",
    ),
    ("`drain`", "stopping", "a_drain_has_an_end"),
    (
        "`drain` in a tunnel",
        "tunnels",
        "a_drain_leaves_tunnels_alone_until_its_end",
    ),
    (
        "limits over all workers",
        "limits",
        "a_tenants_rate_holds_over_all_workers_and_sites",
    ),
    (
        "limits of connections, tunnels among them",
        "limits",
        "a_tenants_connections_are_those_of_all_workers_and_its_tunnels",
    ),
    ("the retry budget", "connections", "retries_have_a_budget"),
    (
        "bounded memory",
        "bodies",
        "slow_readers_hold_the_backend_back_in_bounded_memory",
    ),
    (
        "tenants share no connection",
        "connections",
        "tenants_share_no_connection_to_the_backend_that_both_have",
    ),
    (
        "Balancing: the whole host's loads",
        "balancing",
        "least_connections_are_those_of_the_whole_host",
    ),
    (
        "Balancing: consistent hash",
        "balancing",
        "consistent_hashing_is_the_same_on_all_workers_and_moves_only_the_changed_share",
    ),
    (
        "Balancing: peak-EWMA",
        "balancing",
        "a_slow_backend_gets_few_requests_by_peak_ewma",
    ),
    (
        "Balancing: peak-EWMA, the client's share of the time",
        "balancing",
        "a_client_that_sends_slowly_does_not_make_its_backend_slow_by_peak_ewma",
    ),
    (
        "Balancing: peak-EWMA, a client that waits for 100 (Continue)",
        "balancing",
        "a_client_that_waits_for_continue_does_not_make_its_backend_slow_by_peak_ewma",
    ),
    (
        "Balancing: slow start",
        "balancing",
        "a_backend_that_is_ready_again_comes_to_its_weight_slowly",
    ),
    (
        "Balancing: drain",
        "balancing",
        "a_drained_backend_gets_no_new_requests_and_the_next_tier_is_asked",
    ),
    (
        "Balancing: a limit for each backend",
        "queueing",
        "no_more_than_the_limit_are_at_a_backend_and_the_others_come_in_order",
    ),
    (
        "Balancing: a bounded queue",
        "queueing",
        "a_queue_has_its_length_and_its_time_and_who_leaves_makes_room",
    ),
    (
        "Balancing: visitors wait for their backend",
        "queueing",
        "who_waits_gets_the_backend_that_comes_back_and_visitors_wait_for_theirs",
    ),
    (
        "Balancing: sticky cookie",
        "sticky",
        "a_visitor_stays_through_changes_restarts_and_other_hosts",
    ),
    (
        "Balancing: a forged cookie is ignored",
        "sticky",
        "cookies_that_are_not_ours_are_ignored",
    ),
    (
        "Balancing: sticky visitors of a drained backend stay, of one that is down go",
        "sticky",
        "a_visitor_stays_with_a_draining_backend_and_leaves_one_that_is_down",
    ),
    (
        "backends by name",
        "names",
        "a_name_does_not_lead_where_no_backend_may_be",
    ),
];

#[test]
fn every_clause_is_shown() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut missing = Vec::new();
    for (clause, files) in CLAUSES {
        for file in *files {
            if !tests.join(format!("wire/{file}.txt")).is_file() {
                missing.push(format!("{clause}: wire/{file}.txt"));
            }
        }
    }
    for (clause, file, name) in CLAUSES_OF_TESTS {
        let path = tests.join(format!("proxy/{file}.rs"));
        let text = std::fs::read_to_string(&path).expect("the tests are part of the sources");
        if !text.contains(&format!("#[test]\nfn {name}() {{")) {
            missing.push(format!("{clause}: {name} in proxy/{file}.rs"));
        }
    }
    assert!(missing.is_empty(), "there is no {missing:#?}");
}

#[test]
fn every_conversation_is_of_a_clause() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let named: BTreeSet<&str> = CLAUSES
        .iter()
        .flat_map(|(_, files)| files.iter().copied())
        .collect();
    let mut nameless = BTreeSet::new();
    for entry in std::fs::read_dir(&directory).expect("the tests are part of the sources") {
        let path = entry.expect("an entry").path();
        let file = path.file_stem().unwrap_or_default().to_string_lossy();
        if !named.contains(&*file) {
            nameless.insert(file.into_owned());
        }
    }
    assert!(nameless.is_empty(), "no clause names {nameless:#?}");
}
