//! The bodies, a file per topic, and the list of them all.
//!
//! A body is a plain function from a world to a verdict. Its documentation says which behaviour
//! it pins, and in parentheses which section of the interface that behaviour belongs to:
//!
//! | section | is about |
//! |---|---|
//! | 0 | constants, structs, feature bits |
//! | 1 | creation and permission |
//! | 2 | the handshake |
//! | 3 | REGISTER |
//! | 4 | UNREGISTER |
//! | 5 | waking |
//! | 6 | reading, polling, lifetime |
//! | 7 | pending events (the kernel's `mmap_changing`) |
//! | 8 | filling: COPY, ZEROPAGE, CONTINUE, POISON |
//! | 9 | which faults are raised |
//! | 10 | events |
//! | 11 | WRITEPROTECT and the pagemap |
//! | 12 | PAGEMAP_SCAN |
//! | 13 | MOVE |
//! | 14 | what is new in 7.3 |
//! | 15 | where versions differ |
//! | 16 | descriptors in other processes |

use super::verdict::Verdict;
use super::world::World;

mod prelude;

/// A body and its name.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour, as a sentence in snake case.
    pub name: &'static str,
    /// The file it stands in.
    pub topic: &'static str,
    /// The body.
    pub body: fn(&mut dyn World) -> Verdict,
}

impl Case {
    /// Topic and name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.topic, self.name)
    }
}

/// Declares the topics, and the list of cases in the order given here.
macro_rules! cases {
    ($($topic:ident { $($name:ident,)* })*) => {
        $(mod $topic;)*

        /// Every body.
        pub const CASES: &[Case] = &[
            $($(Case {
                name: stringify!($name),
                topic: stringify!($topic),
                body: $topic::$name,
            },)*)*
        ];
    };
}

cases! {
    creation {
        unknown_flags_are_invalid, known_flags_are_accepted, unprivileged_open_is_refused,
        permission_is_checked_before_flags, user_mode_only_needs_no_privilege,
        device_makes_descriptors, device_refuses_unknown_flags, device_knows_one_request,
        device_asks_for_no_capability, device_open_obeys_its_mode, writing_is_refused,
        seeking_does_nothing, fdinfo_tells_features_and_counts, no_free_descriptor_is_emfile,
    }
    handshake {
        other_versions_are_invalid, unknown_features_are_invalid, failed_handshake_may_be_retried,
        success_tells_every_supported_feature, success_tells_the_requests,
        second_handshake_is_invalid, unreadable_argument_faults,
        unwritable_argument_leaves_no_handshake, requests_before_handshake_are_invalid,
        reading_before_handshake_is_invalid, polling_before_handshake_is_an_error,
        unknown_requests_are_invalid, requests_of_newer_kernels_are_invalid,
        fork_event_needs_privilege, fork_privilege_comes_after_version_before_bits,
        async_read_protection_needs_read_protection,
    }
    register {
        unreadable_argument_faults, modes_must_be_known, ranges_must_be_possible,
        unmapped_range_is_invalid, range_may_have_holes, range_may_span_mappings,
        neighbours_stay_ordinary, present_pages_do_not_fault, memory_of_another_is_busy,
        memory_is_free_again_after_unregister, first_refused_mapping_decides,
        refused_registration_registers_nothing, asking_for_less_keeps_the_superset,
        asking_for_another_mode_replaces, replaced_protection_strands_its_bits, modes_may_be_added,
        full_map_leaves_the_beginning_registered, mappings_move_together_or_not,
        registered_mappings_do_not_move_together, read_protection_goes_with_other_modes,
    }
    register_memory {
        anonymous_memory_offers, write_protection_adds_its_request, shared_memory_offers_everything,
        hugetlb_offers_no_zeropage_no_move, minor_needs_an_object, shared_memory_takes_every_mode,
        hugetlb_takes_every_mode, regular_files_are_refused,
        regular_files_take_asynchronous_protection, read_only_object_is_not_permitted,
        sealed_object_is_not_permitted, special_memory_is_refused, protection_does_not_matter,
        growing_stack_registers, droppable_memory_is_refused, hugetlb_ranges_must_be_aligned,
    }
    unregister {
        unreadable_argument_faults, ranges_must_be_possible, unmapped_range_is_invalid,
        unregistering_twice_is_fine, range_may_have_holes, memory_is_ordinary_afterwards,
        a_part_may_be_unregistered, missing_waiters_are_woken, write_protect_waiters_stay_asleep,
        minor_waiters_stay_asleep, missing_beside_protection_wakes_all, protection_is_taken_off,
        poison_survives, regular_file_in_the_range_is_invalid, memory_of_another_is_invalid,
        filling_finds_nothing_afterwards, hugetlb_range_must_be_aligned,
    }
    wake {
        waking_without_resolving_faults_again, waking_is_by_range, waking_nobody_succeeds,
        ranges_must_be_possible, filling_wakes_unless_told_not_to, filling_wakes_its_pages_only,
        refusal_as_existing_wakes_nobody, all_sleepers_of_a_page_wake,
        signal_duplicates_the_message, signal_does_not_end_a_kernel_fault,
        unread_fault_disappears_when_resolved, filling_ahead_avoids_the_fault,
    }
    read_order {
        short_buffer_is_invalid, nothing_to_read_is_eagain, blocking_read_waits_for_the_first,
        signal_ends_a_waiting_read, one_read_brings_what_fits, bad_buffer_loses_the_message,
        every_thread_has_its_message, messages_come_once, faults_come_before_older_events,
        events_come_in_order, fault_messages_say_how, address_is_rounded_unless_exact,
        threads_are_named_on_request_only, kernel_faults_name_their_thread,
        one_reader_gets_the_message,
    }
    poll {
        pending_fault_is_readable, pending_event_is_readable, blocking_descriptor_is_an_error,
        waiting_poll_wakes_on_a_fault, waiting_poll_wakes_on_an_event,
    }
    lifetime {
        closing_lets_sleepers_read_zeros, closing_takes_protection_off, closing_frees_the_memory,
        duplicates_keep_it_alive, closing_completes_pending_events, a_death_sends_no_message,
        sleepers_can_be_killed,
    }
    fork_exec {
        child_without_event_is_ordinary, child_without_event_is_unprotected, dontfork_is_honoured,
        event_brings_the_childs_descriptor, event_keeps_protection_in_the_child,
        event_waits_for_a_free_descriptor, childs_descriptor_is_like_its_parents,
        grandchildren_are_reported_too, every_descriptor_has_its_event, poison_is_inherited,
        exec_sends_no_event, close_on_exec_closes, markers_follow_the_event,
    }
    events {
        remap_says_from_where_to_where, remapped_memory_stays_registered,
        remap_is_followed_by_unmap, moved_mapping_without_event_is_ordinary,
        moved_mapping_without_event_is_unprotected, protection_moves_along,
        shrinking_unmaps_the_tail, dropping_by_advice_sends_remove,
        dropping_locked_pages_sends_remove, remove_precedes_the_dropping, remove_comes_per_mapping,
        unmap_tells_the_whole_call, unmap_follows_the_unmapping, unmap_comes_once_per_call,
        mapping_over_sends_unmap, moving_over_sends_unmap, every_thread_waits_for_its_own_event,
        nothing_is_sent_unasked, ordinary_memory_sends_nothing, quiet_operations_send_nothing,
        changes_through_the_object_send_nothing, waiting_threads_can_be_killed,
        old_place_left_mapped_stays_registered, growing_in_place_extends_the_registration,
    }
    heap {
        shrinking_the_heap_sends_unmap, it_keeps_a_page_apart, what_is_unmapped_does_not_shrink,
    }
    mmap_changing {
        filling_is_put_off, nothing_is_examined_before, protecting_is_put_off,
        registering_and_waking_go_on, all_memory_is_put_off, other_descriptors_go_on,
        reading_the_event_ends_it, faults_are_delivered_meanwhile, every_event_puts_off,
        the_last_event_counts, unreadable_argument_is_put_off_or_faults, closing_is_put_off,
    }
    missing {
        shared_memory_reports_missing_pages, pages_of_the_object_are_not_missing,
        file_access_does_not_fault, minor_alone_fills_holes_silently,
        holes_are_missing_pages_are_minor, missing_comes_before_protection, system_calls_wait_too,
        populating_waits, locking_waits, remote_readers_wait_too, spanning_access_faults_twice,
        dropped_pages_are_missing_again, forbidden_access_is_not_reported,
        sealed_objects_are_cut_and_not_punched, neighbours_come_along_with_a_load,
    }
    filling {
        unreadable_arguments_fault, unwritable_out_fields_come_too_late, success_tells_the_bytes,
        filling_twice_exists, sleepers_wake, unmapped_destinations_are_noent,
    }
    copy {
        fills_with_its_source, source_may_be_unaligned, unreadable_argument_faults,
        ranges_must_be_possible, source_must_be_possible, modes_must_be_known,
        unmapped_source_faults, source_that_ends_stops_it, unmapped_destination_is_noent,
        unregistered_destination_is_noent, destination_must_lie_in_one_mapping, present_page_exists,
        zero_page_exists, present_page_stops_it_half_way, partial_copy_wakes_what_it_filled,
        protection_does_not_matter, copied_page_is_writable, protecting_needs_the_mode,
        page_can_come_protected, protect_marker_gives_way, poison_gives_way_or_exists,
        guard_gives_way_or_exists, private_mapping_gets_a_private_page,
        shared_mapping_fills_the_object, beyond_the_end_of_the_object_is_refused,
        unwritable_argument_comes_too_late, memory_of_another_is_filled_not_woken,
        missing_source_is_reported, empty_source_is_zeros, destination_gone_meanwhile_is_noent,
        destination_unregistered_meanwhile_is_noent,
        destination_protected_meanwhile_is_filled,
    }
    zeropage {
        anonymous_memory_gets_the_zero_page, shared_memory_gets_a_page_of_its_own,
        sleepers_read_zeros, present_page_exists, markers_exist,
        markers_of_shared_memory_give_way, hugetlb_is_invalid,
        arguments_must_be_possible, destination_must_be_registered, zero_page_can_be_protected,
    }
    continue_ {
        minor_faults_are_flagged, maps_what_the_object_holds, absent_page_faults,
        mapped_page_exists, anonymous_memory_is_invalid, private_mapping_copies_on_write,
        any_registration_will_do, arguments_must_be_possible, page_can_come_protected,
        protecting_needs_the_mode, beyond_the_end_of_the_object_is_refused,
        dropped_mapping_is_minor_again, system_calls_wait_too,
    }
    poison {
        access_is_a_bus_error, poison_is_in_the_mapping, system_calls_fail,
        sleepers_get_a_bus_error, poisoning_wakes, what_is_there_exists,
        present_page_stops_it_half_way, dropping_takes_it_away, mapping_anew_takes_it_away,
        any_registration_will_do, arguments_must_be_possible, destination_must_be_registered,
        punching_a_hole_leaves_it, cutting_the_object_takes_it_away,
        children_inherit_it_in_private_memory_only,
    }
    write_protect {
        stores_wait_loads_do_not, system_calls_wait_too, only_the_range_is_protected,
        unreadable_argument_faults, arguments_must_be_possible, unmapped_range_is_noent,
        memory_without_the_mode_is_noent, a_refusal_leaves_the_beginning_protected,
        holes_are_passed_over, range_may_span_mappings, any_descriptor_may_protect,
        unprotecting_wakes_unless_told_not_to, unprotecting_wakes_everybody_in_the_range,
        waking_alone_faults_again, untouched_anonymous_pages_are_left_out,
        untouched_anonymous_pages_can_be_protected, marker_survives_the_first_read,
        unprotecting_takes_markers_off, marked_page_is_missing_first,
        dropping_anonymous_pages_drops_it, it_survives_mprotect, zero_page_is_protected,
        page_shared_with_a_child_is_protected, all_writers_of_a_page_wait,
    }
    wp_memory {
        present_pages_are_protected, missing_shared_pages_are_protected,
        unmapped_object_pages_are_protected, other_mappings_write_freely,
        dropping_the_mapping_leaves_a_marker, removing_pages_leaves_a_marker,
        punching_a_hole_leaves_a_marker, private_pages_of_the_object_are_protected,
        minor_comes_before_protection,
        stranded_markers_are_forgotten,
    }
    wp_async {
        stores_take_it_off_silently, system_calls_take_it_off_too, untouched_pages_are_protected,
        regular_files_can_be_tracked, missing_faults_are_still_reported, it_can_be_put_back,
    }
    read_protect {
        loads_wait_too, mode_excludes_write_protection, arguments_must_be_possible,
        a_refusal_protects_nothing, asynchronous_mode_takes_it_off, modes_can_be_switched,
        stores_wait_too, system_calls_wait_too, every_memory_can_be_protected,
        missing_pages_are_left_out, zero_page_is_protected, dropping_pages_drops_it,
        unprotecting_wakes_unless_told_not_to, unregistering_takes_it_off,
        closing_takes_it_off, registration_cannot_drop_it, inaccessible_memory_is_invalid,
        child_without_event_is_unprotected, event_keeps_protection_in_the_child,
        moved_mapping_without_event_is_unprotected, copied_pages_come_open,
        accessed_pages_are_told, a_page_shared_with_a_child_is_copied_only_when_written,
        swapped_pages_are_protected, huge_pages_are_protected_whole,
        huge_pages_are_split_for_a_part, it_survives_mprotect, moved_pages_arrive_protected,
        unreadable_arguments_fault, ranges_must_be_possible, modes_can_be_switched_off,
    }
    pagemap_entry {
        untouched_page_has_no_bits, written_page_is_exclusive,
        page_shared_with_a_child_is_not_exclusive, shared_memory_says_so,
        private_mapping_shows_whose_page_it_is, zero_page_is_nobodys, protection_is_bit_57,
        guard_is_bit_58, copied_page_is_exclusive, moved_page_is_exclusive, markers_look_swapped,
        pages_of_zeros_alone_are_not_inherited,
    }
    pagemap_scan {
        size_must_be_right, flags_must_be_known, categories_must_be_known,
        accessed_is_a_category_since_7_3, start_must_be_aligned, regions_need_room,
        equal_neighbours_are_one_region, end_is_rounded_up, it_stops_when_the_room_is_full,
        it_stops_after_so_many_pages, holes_are_passed_over,
        inverted_categories_match_their_absence, masks_combine, only_what_is_asked_is_told,
        shared_memory_is_file, guards_are_told, protectable_memory_is_told, written_pages_are_told,
        missing_pages_count_as_written, plain_memory_counts_as_written,
        telling_and_protecting_is_one_step, protecting_needs_no_room, protecting_stops_with_telling,
        checking_refuses_other_memory, checking_refuses_synchronous_protection,
        protecting_passes_over_other_memory, empty_range_has_no_regions,
    }
    scan_protect {
        without_room_everything_is_protected, without_tables_only_matches_are_protected,
        memory_without_tables_is_written, plain_memory_without_tables_is_not_written,
        a_table_once_made_stays, plain_memory_of_a_child_is_alike, a_moved_mapping_has_its_tables,
        other_markers_take_note, missing_shared_pages_are_protected,
    }
    guard {
        access_is_a_segmentation_fault, system_calls_fail, content_is_dropped,
        removing_leaves_pages_alone, dropping_pages_leaves_them, locked_memory_is_refused,
        a_refusal_leaves_the_beginning_guarded, holes_are_told_at_the_end, hugetlb_is_refused,
        other_markers_give_way, protecting_passes_them_over, it_is_in_the_mapping,
        punching_a_hole_leaves_it, children_inherit_it, it_moves_with_its_mapping,
    }
    move_pages {
        content_changes_hands, moved_page_is_writable, sleepers_wake_unless_told_not_to,
        arguments_must_be_possible, unmapped_ends_are_noent, destination_must_be_our_own,
        any_registration_will_do, registered_source_is_missing_afterwards,
        pages_may_move_inside_a_mapping, overlap_moves_page_by_page, ranges_must_lie_in_one_mapping,
        protection_must_be_equal_and_writable, locking_must_be_equal, shared_memory_is_invalid,
        private_mapping_of_an_object_is_invalid, hugetlb_is_invalid, mergeable_memory_moves,
        a_hole_stops_it, holes_count_when_allowed, an_untouched_source_is_a_hole,
        destination_is_never_overwritten, destination_is_looked_at_first, zero_page_moves,
        protection_is_lost_on_the_way, copied_pages_move_on, many_pages_move_at_once,
        special_memory_is_invalid,
    }
    move_exclusive {
        page_shared_with_a_child_is_busy, writing_makes_it_movable, it_stays_busy_after_the_child,
        memory_kept_out_of_children_moves, shared_page_stops_it_half_way,
        copying_and_dropping_is_the_way_out, pages_made_after_the_fork_move,
        moved_pages_are_inherited, pinned_page_is_busy,
    }
    move_huge {
        empty_table_splits_it, shifted_destination_splits_it, huge_zero_page_moves,
        pinned_huge_page_is_busy, store_over_huge_zeros, refused_collapse_says_why,
        untouched_memory_stays_apart, given_up_page_goes_whole,
        part_is_kept_once_nobody_shares_it,
    }
    move_markers {
        markers_at_the_source_fault, markers_are_no_holes, markers_at_the_destination_exist,
    }
    thp {
        missing_faults_are_for_base_pages, filling_over_a_huge_page_exists,
        moving_onto_a_huge_page_exists, huge_page_moves_whole, part_of_a_huge_page_moves,
        huge_page_shared_with_a_child_is_busy, huge_page_is_protected_whole,
        part_of_a_huge_page_is_protected, part_of_a_huge_page_is_unprotected,
        asynchronous_protection_of_a_huge_page, scanning_tells_huge_pages,
        scanning_protects_it_whole, scanning_splits_it_for_a_part, filled_pages_stay_small,
        missing_pages_are_not_collapsed, full_memory_is_collapsed,
    }
    hugetlb {
        missing_page_is_filled_whole, filling_is_by_huge_pages, present_page_exists,
        page_of_the_object_exists, unmapped_source_faults, minor_faults_are_continued,
        continuing_is_by_huge_pages, huge_page_is_poisoned, private_page_is_writable,
        punched_pages_are_missing_again, sigbus_works_too, pinned_page_is_copied_for_a_child,
        empty_pool_stops_it, private_pages_have_no_end,
    }
    hugetlb_wp {
        present_pages_are_protected, missing_pages_are_protected, ranges_are_whole_huge_pages,
        page_can_come_protected, asynchronous_protection_works, unregistering_takes_it_off,
    }
    hugetlb_scan {
        missing_huge_pages_are_not_written, markers_do_not_look_swapped, scanning_protects_whole,
        parts_are_passed_over, poison_shows_in_scans_only, dropping_leaves_a_marker,
    }
    swap {
        swapped_page_is_not_missing, filling_over_it_exists, it_can_be_protected,
        protection_goes_through_swap, it_can_be_unprotected, it_moves_without_coming_back,
        page_read_back_moves, page_shared_with_a_child_is_busy, moving_onto_it_exists,
        scanning_tells_it, dropping_it_makes_it_missing, shared_page_in_swap_is_minor,
        a_cut_through_it_reads_zeros, a_hole_in_a_part_of_it_reads_zeros,
    }
    sigbus {
        missing_page_is_a_bus_error, system_calls_fail, remote_readers_fail,
        filled_page_is_ordinary, protected_page_is_a_bus_error, minor_fault_is_a_bus_error,
        missing_shared_page_is_a_bus_error, events_are_still_sent,
    }
    user_mode_only {
        instructions_are_served, system_calls_fail, populating_fails, remote_readers_fail,
        protected_page_fails_system_calls, copying_from_a_missing_page_fails,
    }
    foreign {
        a_stranger_serves_faults, a_stranger_may_do_nearly_everything, a_stranger_may_continue,
        a_stranger_may_not_move, moving_from_outside_is_refused_first,
        a_child_works_on_its_parents_memory, filling_the_dead_is_esrch,
        protecting_the_reads_of_the_dead_is_esrch,
        registering_the_dead_is_enomem, the_dead_are_silent, arguments_are_checked_before_the_death,
        a_strangers_descriptor_keeps_it_registered, the_death_of_the_last_holder_lets_go,
        readers_of_the_dying_go_on,
    }
}
