{{- define "sidestep.selector" -}}
app.kubernetes.io/name: sidestep
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sidestep.labels" -}}
{{ include "sidestep.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "sidestep.image" -}}
{{- if contains "/" .Values.image -}}
{{ .Values.image }}
{{- else -}}
{{ required "hub: which registry has the image? None is published yet, see docs/install.md" .Values.hub }}/{{ .Values.image }}:{{ .Values.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* YAML reads on and off as true and false. */ -}}
{{- define "sidestep.word" -}}
{{- if kindIs "bool" . }}{{ ternary "on" "off" . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* As `--values` of `sidestep run` takes it. */ -}}
{{- define "sidestep.values" -}}
{{- $exclude := .Values.exclude }}
{{- range .Values.excludeNamespaces }}{{ $exclude = append $exclude (printf "%s/*" .) }}{{ end }}
{{- $values := dict
  "select" .Values.select
  "exclude" $exclude
  "waitsFor" .Values.waitsFor
  "proxyEnv" .Values.proxyEnv
  "accelerate" (include "sidestep.word" .Values.accelerate)
  "observe" (include "sidestep.word" .Values.observe) }}
{{- if ne .Values.proxyId nil }}{{ $_ := set $values "proxyId" (int64 .Values.proxyId) }}{{ end }}
{{- if ne .Values.inflightLimit nil }}{{ $_ := set $values "inflightLimit" (int64 .Values.inflightLimit) }}{{ end }}
{{- toPrettyJson $values }}
{{- end }}

{{- define "sidestep.port" -}}
{{ last (splitList ":" .Values.listen) }}
{{- end }}

{{- define "sidestep.page-port" -}}
{{ last (splitList ":" .Values.page) }}
{{- end }}

{{- /* Where agent and uninstall look for things. */ -}}
{{- define "sidestep.places" -}}
- --runtime={{ .Values.runtimeSocket }}
- --cni-conf-dir={{ .Values.cniConfDir }}
- --cni-bin-dir={{ .Values.cniBinDir }}
{{- end }}

{{- define "sidestep.image-and-policy" -}}
image: {{ include "sidestep.image" . | quote }}
{{- with .Values.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- define "sidestep.container" -}}
env:
  # Where `sidestep pods`, `report` and `doctor` in this container look.
  - name: SIDESTEP_AGENT
    value: {{ .Values.page | quote }}
  - name: SIDESTEP_CNI_CONF_DIR
    value: {{ .Values.cniConfDir | quote }}
  {{- range $name, $value := .Values.env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
securityContext:
  {{- include "sidestep.rights" . | nindent 2 }}
volumeMounts:
  {{- include "sidestep.mounts" . | nindent 2 }}
{{- end }}
