{{- /* Empty: no. Who is privileged can do no more by it. */}}
{{- define "sidestep.hostPID" -}}
{{- if kindIs "bool" .Values.hostPID }}
{{- if .Values.hostPID }}yes{{ end }}
{{- else if not .Values.leastPrivilege }}yes{{ end }}
{{- end }}
{{- define "sidestep.rights" -}}
runAsUser: 0
runAsGroup: 0
runAsNonRoot: false
readOnlyRootFilesystem: true
{{- if .Values.leastPrivilege }}
privileged: false
capabilities:
  drop: [ALL]
  add:
    # Loads programs, makes maps.
    - BPF
    # Programs that read kernel structures: who owns a socket, how much a receiver has unread.
    - PERFMON
    # Programs of the network, sockmaps, the routing tables of pods.
    - NET_ADMIN
    # Enters pods' network namespaces.
    - SYS_ADMIN
    {{- if include "sidestep.hostPID" . }}
    # Looks which sockets of the processes are whose.
    - SYS_PTRACE
    # Reads the program files of containers, whoever owns them.
    - DAC_READ_SEARCH
    - DAC_OVERRIDE
    {{- end }}
    {{- range .Values.extraCapabilities }}
    - {{ . }}
    {{- end }}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}
# The runtime's own profile lets nobody write below /sys/fs/bpf.
appArmorProfile:
  type: Unconfined
{{- end }}
{{- else }}
# Everything, so that a bpffs that the agent has to mount is there for the node as well: pins outlive the container.
privileged: true
{{- end }}
{{- with .Values.seccompProfile }}
seccompProfile:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
