//! The bodies, a file per topic, and the list of them all.
//!
//! A body is a plain function from a world to a verdict. Its documentation says which behaviour
//! it pins.

use super::verdict::Verdict;
use super::world::World;

mod prelude;

/// A body and its name.
#[derive(Clone, Copy)]
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
        unknown_flags_are_invalid,
        known_flags_are_accepted,
        unprivileged_open_is_refused,
        permission_is_checked_before_flags,
        user_mode_only_needs_no_privilege,
        device_makes_descriptors,
        device_refuses_unknown_flags,
        device_knows_one_request,
        device_asks_for_no_capability,
        device_open_obeys_its_mode,
        writing_is_refused,
        seeking_does_nothing,
        fdinfo_tells_features_and_counts,
    }
    handshake {
        other_versions_are_invalid,
        unknown_features_are_invalid,
        failed_handshake_may_be_retried,
        success_tells_every_supported_feature,
        success_tells_the_requests,
        second_handshake_is_invalid,
        unreadable_argument_faults,
        unwritable_argument_leaves_no_handshake,
        requests_before_handshake_are_invalid,
        reading_before_handshake_is_invalid,
        polling_before_handshake_is_an_error,
        unknown_requests_are_invalid,
        fork_event_needs_privilege,
        fork_privilege_comes_after_version_before_bits,
        async_read_protection_needs_read_protection,
    }
    register {
        unreadable_argument_faults,
        modes_must_be_known,
        ranges_must_be_possible,
        unmapped_range_is_invalid,
        range_may_have_holes,
        range_may_span_mappings,
        neighbours_stay_ordinary,
        present_pages_do_not_fault,
        anonymous_memory_offers,
        write_protection_adds_its_request,
        shared_memory_offers_everything,
        hugetlb_offers_no_zeropage_no_move,
        minor_needs_an_object,
        shared_memory_takes_every_mode,
        hugetlb_takes_every_mode,
        regular_files_are_refused,
        regular_files_take_asynchronous_protection,
        read_only_object_is_not_permitted,
        memory_of_another_is_busy,
        memory_is_free_again_after_unregister,
        first_refused_mapping_decides,
        refused_registration_registers_nothing,
        asking_for_less_keeps_the_superset,
        asking_for_another_mode_replaces,
        replaced_protection_strands_its_bits,
        modes_may_be_added,
        protection_does_not_matter,
        growing_stack_registers,
        droppable_memory_is_refused,
        hugetlb_ranges_must_be_aligned,
    }
    unregister {
        unreadable_argument_faults,
        ranges_must_be_possible,
        unmapped_range_is_invalid,
        unregistering_twice_is_fine,
        range_may_have_holes,
        memory_is_ordinary_afterwards,
        a_part_may_be_unregistered,
        missing_waiters_are_woken,
        write_protect_waiters_stay_asleep,
        minor_waiters_stay_asleep,
        missing_beside_protection_wakes_all,
        protection_is_taken_off,
        poison_survives,
        regular_file_in_the_range_is_invalid,
        memory_of_another_is_invalid,
        filling_finds_nothing_afterwards,
        hugetlb_range_must_be_aligned,
    }
    wake {
        waking_without_resolving_faults_again,
        waking_is_by_range,
        waking_nobody_succeeds,
        ranges_must_be_possible,
        filling_wakes_unless_told_not_to,
        filling_wakes_its_pages_only,
        refusal_as_existing_wakes_nobody,
        all_sleepers_of_a_page_wake,
        signal_duplicates_the_message,
        signal_does_not_end_a_kernel_fault,
        unread_fault_disappears_when_resolved,
        filling_ahead_avoids_the_fault,
    }
    read_order {
        short_buffer_is_invalid,
        nothing_to_read_is_eagain,
        blocking_read_waits_for_the_first,
        signal_ends_a_waiting_read,
        one_read_brings_what_fits,
        bad_buffer_loses_the_message,
        every_thread_has_its_message,
        messages_come_once,
        faults_come_before_older_events,
        events_come_in_order,
        fault_messages_say_how,
        address_is_rounded_unless_exact,
        threads_are_named_on_request_only,
        kernel_faults_name_their_thread,
    }
    poll {
        pending_fault_is_readable,
        pending_event_is_readable,
        blocking_descriptor_is_an_error,
        waiting_poll_wakes_on_a_fault,
    }
    lifetime {
        closing_lets_sleepers_read_zeros,
        closing_takes_protection_off,
        closing_frees_the_memory,
        duplicates_keep_it_alive,
        closing_completes_pending_events,
        a_death_sends_no_message,
        sleepers_can_be_killed,
    }
}
