<#
.SYNOPSIS
Writes the settings of IIS's SMTP service as JSON, for `postern import iis`.

.DESCRIPTION
Run it on the old server, as an administrator. It reads the metabase through ADSI, so that IIS itself
takes its lists apart: unlike MetaBase.xml, the result has the host names of connection control and
relay restrictions, and says which polarity a list has. It changes nothing, and needs the feature
"IIS 6 Metabase Compatibility" (which the SMTP service needs anyway). Passwords and certificates are
not exported. Windows PowerShell 2.0 and later. The form of the result stands in docs/from-iis.md.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File export-iis-smtp.ps1 -Output iis-smtp.json
#>
param(
    [string]$Output = 'iis-smtp.json',
    [string]$Computer = 'localhost'
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

# What the importer knows, and what its report names; all else has no meaning for Postern.
$names = @(
    'AccessSSLFlags', 'AuthFlags', 'BadMailDirectory', 'ConnectResponse', 'ConnectionTimeout',
    'DefaultDomain', 'DropDirectory', 'EnableReverseDnsLookup', 'FullyQualifiedDomainName',
    'HopCount', 'LocalRetryAttempts', 'LocalRetryInterval', 'LogExtFileFlags', 'LogFileDirectory',
    'LogFilePeriod', 'LogFileTruncateSize', 'LogPluginClsid', 'LogType', 'MasqueradeDomain',
    'MaxBatchedMessages', 'MaxConnections', 'MaxMessageSize', 'MaxOutConnections',
    'MaxOutConnectionsPerDomain', 'MaxRecipients', 'MaxSessionSize', 'NameResolution',
    'PickupDirectory', 'QueueDirectory', 'RelayForAuth', 'RemoteSmtpPort', 'RemoteTimeout',
    'RouteAction', 'RouteActionString', 'RouteUserName', 'SaslLogonDomain', 'SecureBindings',
    'SendBadTo', 'SendNdrTo', 'ServerBindings', 'ServerComment', 'SmartHost', 'SmartHostType',
    'SmtpDisableRelay', 'SmtpDsUseCat', 'SmtpHeloNoDomain', 'SmtpInboundCommandSupportOptions',
    'SmtpIpRestrictionFlag', 'SmtpLocalDelayExpireMinutes', 'SmtpLocalNDRExpireMinutes',
    'SmtpMailNoHelo', 'SmtpOutboundCommandSupportOptions', 'SmtpRemoteDelayExpireMinutes',
    'SmtpRemoteNDRExpireMinutes', 'SmtpRemoteProgressiveRetry', 'SmtpSSLCertHostnameValidation',
    'SmtpSSLRequireTrustedCA', 'SSLCertHash', 'SSLStoreName'
)
$lists = @('IPSecurity', 'RelayIpList')
$domainNames = @('RouteAction', 'RouteActionString', 'RouteUserName')

# ConvertTo-Json came with PowerShell 3.0 only.
function ConvertTo-JsonText([string]$text) {
    $out = New-Object System.Text.StringBuilder
    foreach ($c in $text.ToCharArray()) {
        $code = [int]$c
        if ($c -eq '"' -or $c -eq '\') { [void]$out.Append('\').Append($c) }
        elseif ($code -lt 32 -or $code -gt 126) { [void]$out.AppendFormat('\u{0:x4}', $code) }
        else { [void]$out.Append($c) }
    }
    return '"' + $out.ToString() + '"'
}

function ConvertTo-JsonValue($value) {
    if ($null -eq $value) { return 'null' }
    if ($value -is [bool]) { if ($value) { return 'true' } else { return 'false' } }
    if ($value -is [string]) { return ConvertTo-JsonText $value }
    if ($value -is [byte[]]) {
        return ConvertTo-JsonText ([System.BitConverter]::ToString($value).Replace('-', '').ToLower())
    }
    if ($value -is [System.Collections.IDictionary]) {
        $parts = @()
        foreach ($key in ($value.Keys | Sort-Object)) {
            $parts += (ConvertTo-JsonText $key) + ': ' + (ConvertTo-JsonValue $value[$key])
        }
        return '{' + ($parts -join ', ') + '}'
    }
    if ($value -is [System.Collections.IEnumerable]) {
        $parts = @()
        foreach ($item in $value) { $parts += ConvertTo-JsonValue $item }
        return '[' + ($parts -join ', ') + ']'
    }
    if ($value -is [int] -or $value -is [long] -or $value -is [uint32] -or $value -is [int16]) {
        return $value.ToString([System.Globalization.CultureInfo]::InvariantCulture)
    }
    return ConvertTo-JsonText ([string]$value)
}

# A property that is not set, or that this version of IIS does not have, is left out.
function Get-IisProperty($node, [string]$name) {
    try { return ,$node.psbase.InvokeGet($name) } catch { return $null }
}

# An IIsIpSecurity object only takes late-bound questions.
function Get-ListMember($list, [string]$name) {
    return ,[System.__ComObject].InvokeMember($name, [System.Reflection.BindingFlags]::GetProperty,
        $null, $list, $null)
}

function Get-TextList($values) {
    $out = @()
    foreach ($value in $values) { if ($null -ne $value -and "$value" -ne '') { $out += [string]$value } }
    return ,$out
}

function Get-IpList($node, [string]$name) {
    $list = Get-IisProperty $node $name
    if ($null -eq $list) { return $null }
    $out = @{ GrantByDefault = [bool](Get-ListMember $list 'GrantByDefault') }
    foreach ($member in 'IPGrant', 'IPDeny', 'DomainGrant', 'DomainDeny') {
        $out[$member] = Get-TextList (Get-ListMember $list $member)
    }
    return $out
}

function Get-Properties($node, $wanted) {
    $out = @{}
    foreach ($name in $wanted) {
        $value = Get-IisProperty $node $name
        if ($null -eq $value) { continue }
        if ($name -eq 'SSLCertHash') {
            $value = (@($value) | ForEach-Object { '{0:x2}' -f [int]$_ }) -join ''
        }
        if ($value -is [System.Array] -and $value -isnot [byte[]]) { $value = Get-TextList $value }
        $out[$name] = $value
    }
    return $out
}

function Get-Domains([string]$path) {
    $out = @()
    try { $children = ([ADSI]$path).psbase.Children } catch { return ,$out }
    foreach ($child in $children) {
        if ($child.psbase.SchemaClassName -ne 'IIsSmtpDomain') { continue }
        $out += @{ name = [string]$child.psbase.Name
                   properties = Get-Properties $child $domainNames }
    }
    return ,$out
}

$root = "IIS://$Computer/SmtpSvc"
$servers = @()
foreach ($child in ([ADSI]$root).psbase.Children) {
    if ($child.psbase.SchemaClassName -ne 'IIsSmtpServer') { continue }
    # IIS answers with what the server has or inherits, so the service's own settings are in here.
    $properties = Get-Properties $child $names
    foreach ($name in $lists) {
        $list = Get-IpList $child $name
        if ($null -ne $list) { $properties[$name] = $list }
    }
    $servers += @{ number = [int]$child.psbase.Name
                   properties = $properties
                   domains = Get-Domains "$root/$($child.psbase.Name)/Domain" }
}
if ($servers.Count -eq 0) { throw "no SMTP virtual server on $Computer" }

$document = @{
    format = 'postern-iis-smtp'
    version = 1
    computer = [System.Environment]::MachineName
    service = @{ properties = @{} }
    servers = $servers
}
$path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Output)
[System.IO.File]::WriteAllText($path, (ConvertTo-JsonValue $document) + "`r`n")
Write-Host "$($servers.Count) virtual server(s) written to $path; on the new machine:"
Write-Host "  postern import iis $(Split-Path -Leaf $path) -o postern.yaml"
