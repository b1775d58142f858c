-- Reasons as JSON: code, parameters, sentence. The text columns stay, for the version before this one; JSON counts while it
-- belongs to the text beside it.
ALTER TABLE releases ADD COLUMN reasons jsonb;
ALTER TABLE plan_refusals ADD COLUMN reason_json jsonb;
ALTER TABLE branch_artifacts ADD COLUMN trouble_json jsonb;
ALTER TABLE updates ADD COLUMN reason_json jsonb;
ALTER TABLE moves ADD COLUMN reason_json jsonb;
ALTER TABLE terminal_packages ADD COLUMN trouble_json jsonb;
ALTER TABLE terminal_refusals ADD COLUMN reason_json jsonb;

-- Releases whose sentence is known get its code and parameters, all others a general code. The other tables need nothing: a
-- text without JSON is read as a sentence of that code, until the next report replaces it.
UPDATE releases SET reasons = jsonb_build_array(jsonb_build_object('text', reason) || CASE
    WHEN reason ~ '^The store lost a file: \S+ is missing\. Restore ' THEN jsonb_build_object(
        'code', 'store-file-missing', 'params', jsonb_build_object('file', substring(reason FROM '^The store lost a file: (\S+)')))
    WHEN reason ~ '^The store lost a file: \S+ has \d+ bytes instead of \d+\. Restore ' THEN jsonb_build_object(
        'code', 'store-file-cut', 'params', jsonb_build_object(
            'file', substring(reason FROM '^The store lost a file: (\S+)'),
            'found', substring(reason FROM ' has (\d+) bytes'),
            'length', substring(reason FROM ' instead of (\d+)')))
    WHEN reason ~ '^The store lost a file: ' THEN jsonb_build_object('code', 'store-file-unreadable')
    WHEN reason ~ '^The upload expired: ' THEN jsonb_build_object('code', 'upload-expired')
    WHEN reason ~ '^The upload was cancelled by \S+\. Upload ' THEN jsonb_build_object(
        'code', 'upload-cancelled', 'params', jsonb_build_object('operator', substring(reason FROM '^The upload was cancelled by (\S+)\. Upload ')))
    WHEN reason ~ '^Rules that failed: [a-z0-9, -]+\.$' THEN jsonb_build_object(
        'code', 'rules-failed', 'params', jsonb_build_object('rules', substring(reason FROM '^Rules that failed: (.+)\.$')))
    WHEN reason ~ '^Rules that could not be evaluated: [a-z0-9, -]+\.$' THEN jsonb_build_object(
        'code', 'rules-unknown', 'params', jsonb_build_object('rules', substring(reason FROM '^Rules that could not be evaluated: (.+)\.$')))
    WHEN reason ~ '^Warnings to be accepted: [a-z0-9, -]+\.$' THEN jsonb_build_object(
        'code', 'warnings-open', 'params', jsonb_build_object('rules', substring(reason FROM '^Warnings to be accepted: (.+)\.$')))
    WHEN reason ~ '^\d+ of \d+ signatures by release keys of \S+ are missing: [^.]+\.$' THEN jsonb_build_object(
        'code', 'signatures-missing', 'params', jsonb_build_object(
            'missing', substring(reason FROM '^(\d+) of '),
            'threshold', substring(reason FROM '^\d+ of (\d+) '),
            'product', substring(reason FROM ' release keys of (\S+) are missing')))
    WHEN withdrawn_by IS NOT NULL THEN jsonb_build_object('code', 'withdrawn')
    ELSE jsonb_build_object('code', 'unclassified')
    END) WHERE reason IS NOT NULL;
