//! The names of the other options of Cyrus 3.6.1.
//!
//! Their values do not matter here, but their names do: `csync_timeout` is `timeout` for the
//! service `csync` only because an option `timeout` exists (configuration §1.3).

/// Whether Cyrus 3.6.1 has an option of this name that is not in our table.
pub(super) fn is_other_option(name: &str) -> bool {
    OTHER_OPTIONS
        .split_ascii_whitespace()
        .any(|known| known == name)
}

static OTHER_OPTIONS: &str = "\
    acl_admin_implies_write addressbookprefix afspts_localrealms afspts_mycell \
    allowallsubscribe allowanonymouslogin allowapop allowdeleted allownewnews allowsetacl \
    allowusermoves altnamespace altprefix annotation_allow_undefined annotation_callout \
    annotation_callout_disable_append annotation_definitions annotation_enable_legacy_commands \
    anyoneuseracl anysievefolder aps_topic aps_topic_caldav aps_topic_carddav archive_after \
    archive_days archive_keepflagged archive_maxsize autocreate_inbox_folders autocreate_post \
    autocreate_quota autocreate_quota_messages autocreate_sieve_compiled_script \
    autocreate_sieve_folders autocreate_sieve_script autocreate_sieve_script_compile \
    autocreate_sieve_script_compiled autocreate_subscribe_folders \
    autocreate_subscribe_sharedfolders autocreate_subscribe_sharedfolders_all autocreate_users \
    autocreateinboxfolders autocreatequota autocreatequotamsg autoexpunge autosievefolders \
    autosubscribe_all_sharedfolders autosubscribeinboxfolders autosubscribesharedfolders \
    backup_compact_maxsize backup_compact_minsize backup_compact_work_threshold backup_db \
    backup_db_path backup_keep_previous backup_retention backup_retention_days \
    backup_staging_path caldav_accept_invalid_rrules caldav_allowattach \
    caldav_allowcalendaradmin caldav_allowscheduling caldav_create_attach caldav_create_default \
    caldav_create_sched caldav_historical_age caldav_maxdatetime caldav_mindatetime \
    caldav_realm calendar_component_set calendar_default_displayname calendar_user_address_set \
    calendarprefix carddav_allowaddmember carddav_allowaddressbookadmin carddav_realm \
    carddav_repair_vcard caringo_hostname caringo_port chatty commandmintimer \
    conversations_counted_flags conversations_db conversations_expire_after \
    conversations_expire_days conversations_keep_existing conversations_max_guidexists \
    conversations_max_guidinfolder conversations_max_guidrecords conversations_max_thread \
    createonpost crossdomains crossdomains_onlyother dav_lock_timeout dav_realm davdriveprefix \
    davnotificationsprefix debug_command debug_writefail_guid defaultacl defaultsearchtier \
    defaultserver delete_unsubscribe deleteright disable_shared_namespace \
    disable_user_namespace disconnect_on_vanished_mailbox duplicate_db duplicate_db_path \
    duplicatesuppression event_content_inclusion_mode event_content_size event_exclude_flags \
    event_exclude_specialuse event_extra_params event_groups event_notifier fastmailsharing \
    flushseenstate foolstupidclients generate_compiled_sieve_script http_h2_altsvc \
    http_jwt_key_dir http_jwt_max_age httpallowcompress httpallowcors httpallowedurls \
    httpallowtrace httpcontentmd5 httpdocroot httpkeepalive httplogheaders httpmodules \
    httpprettytelemetry httptimeout icalendar_max_size ignorereference imapidlepoll \
    imapidletimeout imapidresponse imapmagicplus imipnotifier implicit_owner_rights \
    improved_mboxlist_sort iolog ischedule_dkim_domain ischedule_dkim_key_file \
    ischedule_dkim_required ischedule_dkim_selector jmap_emailsearch_db_path \
    jmap_imagesize_annot jmap_inlinedcids_annot jmap_mail_max_size_attachments_per_email \
    jmap_max_calls_in_request jmap_max_catenate_items jmap_max_concurrent_requests \
    jmap_max_concurrent_upload jmap_max_delayed_send jmap_max_objects_in_get \
    jmap_max_objects_in_set jmap_max_size_blob_set jmap_max_size_request jmap_max_size_upload \
    jmap_nonstandard_extensions jmap_preview_annot jmap_preview_length jmap_pushpoll \
    jmap_querycache_max_age jmap_set_has_attachment jmap_vacation jmappushsubscriptionfolder \
    jmapsubmission_deleteonsend jmapsubmissionfolder jmapuploadfolder ldap_authz ldap_base \
    ldap_bind_dn ldap_ca_dir ldap_ca_file ldap_ciphers ldap_client_cert ldap_client_key \
    ldap_deref ldap_domain_base_dn ldap_domain_filter ldap_domain_name_attribute \
    ldap_domain_result_attribute ldap_domain_scope ldap_filter ldap_group_base \
    ldap_group_filter ldap_group_scope ldap_id ldap_mech ldap_member_attribute ldap_member_base \
    ldap_member_filter ldap_member_method ldap_member_scope ldap_password ldap_realm \
    ldap_referrals ldap_restart ldap_sasl ldap_sasl_authc ldap_sasl_authz ldap_sasl_mech \
    ldap_sasl_password ldap_sasl_realm ldap_scope ldap_servers ldap_size_limit ldap_start_tls \
    ldap_time_limit ldap_timeout ldap_tls_cacert_dir ldap_tls_cacert_file ldap_tls_cert \
    ldap_tls_check_peer ldap_tls_ciphers ldap_tls_key ldap_uri ldap_user_attribute \
    ldap_verify_peer ldap_version literalminus lmtp_catchall_mailbox lmtp_downcase_rcpt \
    lmtp_exclude_specialuse lmtp_fuzzy_mailbox_match lmtp_over_quota_perm_failure lmtp_preparse \
    lmtp_strict_quota lmtp_strict_rfc2821 lmtpsocket lmtptxn_timeout lock_debugtime loginuseacl \
    logtimestamps mailbox_maxmessages_addressbook mailbox_maxmessages_calendar \
    mailbox_maxmessages_email mailnotifier master_bind_errors_fatal maxlogins_per_host \
    maxlogins_per_user maxmessagesize mboxkey_db munge8bit mupdate_authname mupdate_config \
    mupdate_connections_max mupdate_password mupdate_port mupdate_realm mupdate_retry_delay \
    mupdate_server mupdate_username mupdate_workers_max mupdate_workers_maxspare \
    mupdate_workers_minspare mupdate_workers_start netscapeurl newsaddheaders newsgroups \
    newsmaster newspeer newspostuser newsprefix newsrc_db_path nntptimeout notesmailbox \
    notify_external notifysocket object_storage_dummy_spool openio_account openio_autocreate \
    openio_namespace openio_proxy_timeout openio_rawx_timeout openio_verbosity \
    partition_select_exclude partition_select_mode partition_select_soft_usage_limit \
    partition_select_usage_reinit plaintextloginalert plaintextloginpause popexpiretime \
    popminpoll poppollpadding popsubfolders poptimeout popuseacl popuseimapflags postmaster \
    postspec postuser prometheus_enabled prometheus_need_auth prometheus_stats_dir \
    prometheus_update_freq proxy_authname proxy_compress proxy_password proxy_realm \
    proxyd_allow_status_referral proxyd_disable_mailbox_referrals proxyservers ptloader_sock \
    pts_module ptscache_db ptscache_db_path ptscache_timeout ptskrb5_convert524 \
    ptskrb5_strip_default_realm qosmarking quota_use_conversations quotawarn quotawarnkb \
    quotawarnmsg readonly reject8bit restore_authname restore_password restore_realm \
    reverseuniqueids rfc3028_strict rss_feedlist_template rss_feeds rss_maxage rss_maxitems \
    rss_maxsynopsis rss_realm search_attachment_extractor_url search_batchsize search_engine \
    search_fuzzy_always search_index_headers search_index_language search_index_parts \
    search_index_skip_domains search_index_skip_users search_indexed_db search_maxsize \
    search_maxtime search_normalisation_max search_query_language search_queryscan \
    search_skipdiacrit search_skiphtml search_snippet_length search_stopword_path \
    search_whitespace sendmail sendmail_auth_id serverinfo serverlist serverlist_select_mode \
    serverlist_select_soft_usage_limit serverlist_select_usage_reinit sharedprefix \
    sieve_allowreferrals sieve_duplicate_max_expiration sieve_extensions sieve_maxscripts \
    sieve_maxscriptsize sieve_sasl_send_unsolicited_capability sieve_use_lmtp_reject \
    sieve_utf8fileinto sieve_vacation_max_response sieve_vacation_min_response sievenotifier \
    skiplist_always_checkpoint smtp_auth_authname smtp_auth_password smtp_auth_realm \
    smtp_backend smtp_host soft_noauth sortcache_db specialuse_extra specialuse_nochildren \
    specialuse_protect specialusealways sql_database sql_engine sql_hostnames sql_passwd \
    sql_user sql_usessl srs_alwaysrewrite srs_domain srs_hashlength srs_secrets srs_separator \
    srvtab submitservers suppress_capabilities sync_rightnow_channel telemetry_bysessionid \
    temp_path timeout tls_cipher_list tls_ciphers tls_eccurve tls_prefer_server_ciphers \
    tls_server_dhparam tls_session_timeout tls_sessions_db tls_sessions_db_path tlscache_db \
    tlscache_db_path uidl_format userprefix vcard_max_size virusscan_notification_subject \
    virusscan_notification_template websocket_timeout xbackup_enabled zoneinfo_db \
    zoneinfo_db_path zoneinfo_dir";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::SETTINGS;

    #[test]
    fn no_name_is_in_both_lists() {
        assert!(is_other_option("timeout"));
        for setting in SETTINGS {
            assert!(!is_other_option(setting.name), "{}", setting.name);
        }
    }
}
